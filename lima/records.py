"""The records that travel through the graph: one schema for one thing."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, model_validator


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Turn(Record):
    role: Literal["system", "user", "assistant"]  # system: the first turn at most; the paper has none
    content: str


class Provenance(Record):
    """Where a text comes from, so that it can be attributed and found again."""

    source: str  # a key of params.yaml's sources
    site: str  # exchange, article category, subreddit, task, author group
    id: str  # the source's own
    url: str
    author: str
    licence: str
    digest: str  # SHA-256 of the raw record, hexadecimal


class Candidate(Record):
    """What a source offers, before any filter, its text still in the source's markup."""

    id: str  # SOURCE/SITE/ID, unique in the graph
    title: str  # plain text
    description: str  # "" where there is none
    response: str  # "" where there is none: the candidate can only become a prompt
    later_turns: tuple[Turn, ...]  # of a dialogue, after the first exchange
    markup: Literal["html", "markdown"]  # of description and response
    score: int | None  # of the question, article or submission
    response_score: int | None
    tags: tuple[str, ...]
    provenance: Provenance
    system: str = ""  # of a released dialogue: its system turn, "" where there is none


class Comment(Record):
    """A comment below an answer."""

    speaker: Literal["asker", "answerer", "other"]
    name: str  # "" where the community does not tell
    text: str  # Markdown, as in the source
    score: int


class Thread(Record):
    """A question, one of its answers, and the talk below that answer, before any filter."""

    title: str
    question: str  # HTML
    answer: str  # HTML
    score: int  # the answer's
    asker: str  # names
    answerer: str
    remarks: tuple[Comment, ...]  # in the order of time
    tags: tuple[str, ...]
    provenance: Provenance  # of all that asker and answerer wrote


class Dropped(Record):
    """What was left out, and why: nothing leaves the graph without such a line."""

    reason: str  # "bad_row" where the raw row could not be read
    detail: str  # what was found: the parser's words, the matching phrase, the length
    place: str  # FILE:ROW in the dump, or the candidate's id
    raw: str  # the bad row as it stood; "" for a candidate, which candidates.jsonl holds
    rows: PositiveInt = 1  # how many it stands for: rows that were passed over unread are told together


class Example(Record):
    """A prompt and its response, or a dialogue, as the model will see it."""

    id: str
    messages: tuple[Turn, ...]
    tags: tuple[str, ...]
    provenance: Provenance


class Credit(Record):
    """Whom to name for an example: one line of attribution.csv."""

    split: str
    id: str
    source: str
    site: str
    title: str
    author: str  # "unknown" in the place of what the source does not tell, as in the next two
    address: str
    licence: str
    licence_address: str  # "" where the licence's name does not tell one
    changes: str  # made to the text since it left its source
    missing: str  # which of author, address and licence are unknown, or a part of them: "author, address"


class Prompt(Record):
    """What contestants are asked; its last turn is the user's."""

    id: str
    messages: tuple[Turn, ...]
    tags: tuple[str, ...]
    provenance: Provenance


def first_prompt(record: Example | Prompt) -> str:
    """The first user turn, which identifies a record; a system turn may come before it."""
    return next((turn.content for turn in record.messages if turn.role == "user"), record.messages[0].content)


class Funnel(Record):
    """How many candidates of a source came in, and where each of them went."""

    source: str
    offered: NonNegativeInt
    kept: NonNegativeInt
    prompts: NonNegativeInt
    dropped: dict[str, PositiveInt]  # candidates a reason, in the order in which the filters ask

    @model_validator(mode="after")
    def adds_up(self) -> Self:
        gone = sum(self.dropped.values())
        if self.offered != self.kept + self.prompts + gone:
            raise ValueError(f"{self.offered} offered, but {self.kept} kept + {self.prompts} prompts + {gone} dropped")
        return self


class StepMetrics(Record):
    step: PositiveInt  # optimizer steps done
    epoch: PositiveInt
    loss: float  # nats a supervised token
    lr: float
    grad_norm: float  # before clipping
    tokens: PositiveInt  # all tokens of the step
    supervised_tokens: PositiveInt
    seconds: float


class EpochMetrics(Record):
    epoch: PositiveInt
    train_loss: float  # mean over the epoch's supervised tokens, nats
    held_out_perplexity: float  # exp of the mean nats a supervised token of held_out.jsonl
    checkpoint: str  # the folder's name below data/train/ARM/
    digest: str  # SHA-256 of model.safetensors, hexadecimal


class EpochScore(Record):
    """What select knows of one epoch's checkpoint."""

    epoch: PositiveInt
    checkpoint: str
    digest: str
    held_out_perplexity: float
    ended: float  # share of dev responses that end with EOT
    win: float  # shares of dev prompts on which the annotator prefers this checkpoint to the untuned base, …
    tie: float
    lose: float
    score: float  # … and win − lose


NoReplyReason = Literal[
    "refused",  # by the provider's filter
    "rejected",  # by the server: this question, not the others
    "empty",  # no text: a tool call, reasoning alone
    "truncated",  # cut before the answer or the verdict
    "timed_out",
    "unavailable",  # rate limit, trouble of the server or a broken connection, also after all retries
    "malformed",  # no chat completion, also after all retries
]


class Response(Record):
    prompt_id: str
    contestant: str
    sample: NonNegativeInt
    text: str  # without reasoning blocks
    finish: Literal["stop", "length"]  # "stop": ended by itself
    finish_reason: str | None = None  # the server's own word; None where no server answered
    tokens: NonNegativeInt | None  # None where the contestant does not tell


class Unanswered(Record):
    """A question to a contestant that has no answer, with the reason: a line of unanswered.jsonl."""

    prompt_id: str
    contestant: str
    sample: NonNegativeInt
    reason: NoReplyReason
    detail: str  # the server's words, redacted


class Judgment(Record):
    """An annotator's answer on one showing of two responses."""

    first: str  # the contestant shown first
    winner: Literal["first", "second", "tie", "unparsed", "failed"]  # failed: no reply at all
    reply: str  # the annotator's own words, "" for a floor and where there is no reply
    reason: NoReplyReason | None = None  # of unparsed, where the reply was cut, and of failed
    detail: str = ""  # of failed: the server's words, redacted


class Verdict(Record):
    """What one annotator says of two responses to one prompt, over both orders (§4)."""

    comparison: str
    annotator: str
    prompt_id: str
    sample: NonNegativeInt
    contestant: str
    rival: str
    outcome: Literal["win", "tie", "lose", "inconsistent", "unparsed", "failed"]  # the contestant's
    ballots: tuple[Judgment, ...]


class FailedExpectation(Record):
    split: str  # train, held_out, dev or test
    says: str  # what was expected, in words
    observed: str
    ids: tuple[str, ...]  # of the rows that do not meet it; () where the table as a whole is meant


class ValidationResult(Record):
    """What validate found, and train asks for before it starts."""

    arm: str
    passed: bool
    train_digest: str  # SHA-256 of train.jsonl, hexadecimal
    expectations: PositiveInt
    failures: tuple[FailedExpectation, ...]
    warnings: tuple[FailedExpectation, ...] = ()  # not met either, but training may start
