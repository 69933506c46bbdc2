"""Parameters of the commands outside of the pipeline, one section per tool."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from lima.config.section import OpenShare, Section, Share


class Dialogues(Section):
    """Parameters of `lima dialogues`: selection and quality score of comment chains."""

    most: PositiveInt
    min_exchanges: Annotated[int, Field(ge=2)]
    min_merit: Annotated[float, Field(ge=-1, le=1)]
    full_exchanges: PositiveInt
    full_reply_chars: PositiveInt
    full_score: PositiveInt


class CorpusLint(Section):
    """Parameters of `lima corpus check` and `lima corpus compare`."""

    folders: list[str]
    suites: list[str]
    spelling: str
    max_jaccard: Annotated[float, Field(gt=0, le=1)]
    min_twin_jaccard: Share
    shingle_chars: PositiveInt
    closest: PositiveInt
    opening_words: PositiveInt
    most_openings: PositiveInt
    tokens_per_piece: PositiveFloat
    wording_chars: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    max_distance: Share
    draws: PositiveInt
    seed: NonNegativeInt


class ConversationSettings(Section):
    """Rules of the conversations that people hold with contestants."""

    openings: str
    per_person: PositiveInt
    paired: bool
    exchanges: PositiveInt
    max_chars: PositiveInt
    timeout: PositiveFloat


class AnnotationSettings(Section):
    """Rules of a study in which people judge items."""

    seed: NonNegativeInt
    overlap: PositiveInt
    quota: PositiveInt
    comprehension: bool
    pilot: NonNegativeInt
    attention_every: NonNegativeInt
    repeat_every: NonNegativeInt
    repeat_gap: PositiveInt
    order: Literal["random", "disputed"]
    reservation_minutes: PositiveInt
    min_seconds: NonNegativeFloat
    max_same_share: Share
    min_flagged: PositiveInt
    max_body_kilobytes: PositiveInt
    confidence: OpenShare
    resamples: PositiveInt
    conversations: ConversationSettings
