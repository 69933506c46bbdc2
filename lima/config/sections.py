"""Parameters of each stage, one section per stage."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lima import reader_names
from lima.config.entries import BaselineAnnotator, EndpointAnnotator
from lima.config.section import OpenShare, Section, Share


class Base(Section):
    seed: NonNegativeInt


class Scrape(Section):
    max_bad_share: Share
    workers: PositiveInt
    retries: NonNegativeInt
    part_megabytes: PositiveInt


class Characters(Section):
    """Length limits of a response, in characters of Markdown, inclusive."""

    min_chars: PositiveInt
    max_chars: PositiveInt

    @model_validator(mode="after")
    def is_a_range(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars {self.min_chars} is more than max_chars {self.max_chars}")
        return self


class NoPrefilter(Section):
    """The reader reads every row of a dump."""


class StackExchangePrefilter(Section):
    """Questions that the reader skips, since the filter would drop them. A change re-runs scrape."""

    min_response_score: int


class RedditPrefilter(Section):
    """Subreddits that are read; rows of other subreddits are skipped. A change re-runs scrape."""

    train_subreddits: list[str]
    prompt_subreddits: list[str]


class StackExchangeFilter(Characters):
    prefilter: StackExchangePrefilter
    max_quoted_share: Share
    title_share: Share


class WikihowFilter(Characters):
    prefilter: NoPrefilter


class RedditFilter(Characters):
    prefilter: RedditPrefilter
    min_score: int
    min_response_score: int


class NaturalInstructionsFilter(Section):
    prefilter: NoPrefilter
    categories: list[str]
    min_distinct_share: Share
    max_unpolished_share: Share
    rewriting: list[str]
    max_unrelated_share: Share
    min_median_words: PositiveInt
    max_prompt_chars: PositiveInt


class NoThresholds(Section):
    """No thresholds beyond the filters that apply to every source."""

    prefilter: NoPrefilter


class PluginFilter(Section):
    """Thresholds for a reader of another package; only its rule function knows their names."""

    model_config = ConfigDict(extra="allow")
    prefilter: NoPrefilter = NoPrefilter()

    def thresholds(self) -> dict[str, object]:
        return dict(self.model_extra or {})


ReaderFilter = (
    StackExchangeFilter | WikihowFilter | RedditFilter | NaturalInstructionsFilter | NoThresholds | PluginFilter
)


class Language(Section):
    wanted: str
    least_probability: Share
    min_chars: PositiveInt


class NearDuplicates(Section):
    words: PositiveInt
    least_jaccard: Annotated[float, Field(gt=0, le=1)]
    permutations: PositiveInt
    bands: PositiveInt

    @model_validator(mode="after")
    def bands_are_whole(self) -> Self:
        if self.permutations % self.bands:
            raise ValueError(f"{self.permutations} permutations do not divide into {self.bands} bands")
        return self


class Filter(Section):
    seed: NonNegativeInt
    workers: PositiveInt
    retries: NonNegativeInt
    unfiltered_reservoir: PositiveInt
    reviews: str
    edits: str
    language: Language
    near_duplicates: NearDuplicates
    stack_exchange: StackExchangeFilter
    wikihow: WikihowFilter
    reddit: RedditFilter
    natural_instructions: NaturalInstructionsFilter
    authored: NoThresholds
    adversarial: NoThresholds
    released_lima: NoThresholds
    alpaca: NoThresholds
    chat: NoThresholds

    plugins: dict[str, PluginFilter] = Field(default_factory=dict)  # sections of readers of other packages, by reader

    @model_validator(mode="before")
    @classmethod
    def sections_of_plugins(cls, values: object) -> object:
        """Move the sections of readers of other packages into `plugins`; other unknown keys remain errors."""
        if not isinstance(values, Mapping):
            return values
        plugins = [name for name in reader_names.plugins() if name not in cls.model_fields]
        moved = {name: values[name] for name in plugins if name in values}
        return (
            {**{key: value for key, value in values.items() if key not in moved}, "plugins": moved} if moved else values
        )

    def of_reader(self, reader: str) -> ReaderFilter:
        if reader not in reader_names.BUILT_IN:
            return self.plugins.get(reader, PluginFilter())
        section: ReaderFilter = getattr(self, reader)
        return section

    def with_reader(self, reader: str, section: ReaderFilter) -> Self:
        """Return a copy with another section for a reader."""
        if reader not in reader_names.BUILT_IN:
            return self.model_copy(update={"plugins": {**self.plugins, reader: section}})
        return self.model_copy(update={reader: section})


class Prompts(Section):
    seed: NonNegativeInt
    dev: dict[str, PositiveInt]
    test: dict[str, PositiveInt]
    adversarial: dict[str, PositiveInt]
    dialogues: dict[str, PositiveInt]


class DataCard(Section):
    """Amount of content in an arm's data card."""

    examples: PositiveInt
    dropped: PositiveInt
    chars: PositiveInt


class Contamination(Section):
    words: PositiveInt
    least_words: PositiveInt


class Mix(Section):
    seed: NonNegativeInt
    temperature: PositiveFloat
    test_sets: str
    contamination: Contamination
    most_per_site: dict[str, PositiveInt]
    held_out: dict[str, PositiveInt]


class Validate(Section):
    max_prompt_chars: PositiveInt
    max_response_chars: PositiveInt
    min_response_chars: PositiveInt


class Generation(Section):
    """Sampling settings written into each checkpoint, for tools other than the stage sample."""

    top_p: Annotated[float, Field(gt=0, le=1)]
    temperature: PositiveFloat
    repetition_penalty: Annotated[float, Field(ge=1)]
    max_tokens: PositiveInt


class Train(Section):
    launch: str
    model: str
    eot_token: str
    eot_start: Literal["mean", "eos"]
    epochs: PositiveInt
    batch_size: PositiveInt
    max_tokens: PositiveInt
    micro_batch_tokens: PositiveInt | Literal["auto"]
    lr: PositiveFloat
    lr_end: NonNegativeFloat
    beta1: OpenShare
    beta2: OpenShare
    epsilon: PositiveFloat
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    residual_dropout: Annotated[float, Field(ge=0, lt=1)]
    precision: Literal["fp32", "bf16"]
    residual_precision: Literal["fp32", "bf16"]
    fused_layers: bool
    gradient_checkpointing: bool | Literal["selective"]
    deterministic: bool
    max_loss: PositiveFloat
    state_minutes: NonNegativeFloat
    generation: Generation
    keep_epochs: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    seed: NonNegativeInt

    @model_validator(mode="after")
    def kept_epochs_are_trained(self) -> Self:
        first, last = self.keep_epochs
        if not first <= last <= self.epochs:
            raise ValueError(f"keep_epochs {first} to {last} are not within 1 to {self.epochs}, the number of epochs")
        return self

    @property
    def micro_tokens(self) -> int:
        """Tokens of a micro-batch, once "auto" has been replaced by a number at the start of training.

        Raises:
            ValueError: It has not.
        """
        if self.micro_batch_tokens == "auto":
            raise ValueError("micro_batch_tokens is still auto; it is chosen when training starts")
        return self.micro_batch_tokens

    @model_validator(mode="after")
    def micro_batches_of_deterministic_runs_are_equal(self) -> Self:
        if self.deterministic and self.micro_batch_tokens == "auto":
            raise ValueError(
                "micro_batch_tokens auto depends on the free memory, so runs with deterministic: true differ; set it "
                "to a number"
            )
        return self

    @model_validator(mode="after")
    def residual_stream_is_at_most_as_narrow_as_the_computation(self) -> Self:
        if self.residual_precision == "bf16" and self.precision == "fp32":
            raise ValueError(
                "residual_precision bf16 has no effect in precision fp32; set precision: bf16 or both fp32"
            )
        return self

    @model_validator(mode="after")
    def learning_rate_decreases(self) -> Self:
        if self.lr_end > self.lr:
            raise ValueError(f"lr_end {self.lr_end} is more than lr {self.lr}; the learning rate must decrease")
        return self


class Decoding(Section):
    top_p: Annotated[float, Field(gt=0, le=1)]
    temperature: PositiveFloat
    repetition_penalty: Annotated[float, Field(ge=1)]
    max_tokens: PositiveInt
    batch_size: PositiveInt
    precision: Literal["fp32", "bf16"]
    seed: NonNegativeInt


class Select(Section):
    first_epoch: PositiveInt
    last_epoch: PositiveInt
    annotator: Annotated[BaselineAnnotator | EndpointAnnotator, Field(discriminator="kind")]
    template: str  # file with the instructions for a model
    decoding: Decoding


class Budget(Section):
    """Limits on what a stage may spend on endpoints, over all its runs in one checkout; null: no limit."""

    calls: PositiveInt | None
    tokens: PositiveInt | None  # of prompts and completions together
    cost: PositiveFloat | None  # in the currency of the endpoint's prices


class RequestSettings(Section):
    """How a stage sends requests to endpoints. None of these settings changes a response."""

    concurrency: PositiveInt
    retries: NonNegativeInt
    timeout: PositiveFloat
    max_retry_after: PositiveFloat
    max_rate_limit_wait: PositiveFloat
    max_failed_share: Share
    budget: Budget


class DialogueSampling(Section):
    """How scripted dialogues are sampled, beside `decoding`."""

    turns: PositiveInt  # user turns of a script that are answered; later ones are left out
    max_tokens: PositiveInt


class LikelihoodSettings(Section):
    """Recorded answers whose likelihood under each local contestant is computed."""

    answers: str  # file of recorded responses to test prompts
    most: PositiveInt | None  # answers, drawn with decoding.seed; null: all
    max_tokens: PositiveInt


class Sample(RequestSettings):
    samples: PositiveInt
    decoding: Decoding
    dialogues: DialogueSampling
    likelihood: LikelihoodSettings


class Canaries(Section):
    """Items with a known judgment, which every model judges beside the responses."""

    references: str  # recorded answers written by people, JSONL
    per_kind: NonNegativeInt


class Usability(Section):
    """Largest shares at which an annotator's judgments support a conclusion."""

    max_unusable_share: Share
    max_inconsistent_share: Share
    max_constant_share: Share
    max_failed_canaries: Share


class Judge(RequestSettings):
    canaries: Canaries
    seed: NonNegativeInt


class Report(Section):
    confidence: OpenShare
    bootstrap: PositiveInt
    power: OpenShare
    side_by_side: PositiveInt
    page_megabytes: PositiveFloat
    seed: NonNegativeInt
    usability: Usability
    card: DataCard
