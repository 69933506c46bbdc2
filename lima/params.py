"""params.yaml as types: the only place where a number of the pipeline is read."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lima.errors import LimaError

Share = Annotated[float, Field(ge=0, le=1)]
Entry = TypeVar("Entry")
OpenShare = Annotated[float, Field(gt=0, lt=1)]


class ParamsError(LimaError):
    """A key that is unknown, missing or impossible; says which, what stands there and what would be right."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# --- what the keyed stages run over -----------------------------------------------------------------------------


class HubModel(Section):
    kind: Literal["hub"]
    id: str
    revision: str


class FolderModel(Section):
    kind: Literal["folder"]
    path: str


class GgufModel(Section):
    kind: Literal["gguf"]
    path: str


class PackagedModel(Section):
    """A GGUF file inside an installed Python package."""

    kind: Literal["package"]
    package: str
    file: str


class RandomModel(Section):
    """A Llama with random weights and a byte-level tokenizer: it tests the graph, not the hypothesis."""

    kind: Literal["random"]
    layers: PositiveInt
    hidden: PositiveInt
    heads: PositiveInt
    context: PositiveInt


Model = Annotated[HubModel | FolderModel | GgufModel | PackagedModel | RandomModel, Field(discriminator="kind")]


class Source(Section):
    reader: Literal[
        "stack_exchange", "wikihow", "reddit", "natural_instructions", "authored", "suite", "lima", "alpaca"
    ]
    dumps: str
    licence: str


class Lora(Section):
    """Train small matrices beside frozen weights; not the paper's."""

    rank: PositiveInt
    alpha: PositiveInt  # over rank: what the small matrices' product is multiplied with


class Arm(Section):
    pool: Literal["kept", "unfiltered"]
    without: list[str]  # tags: no example that carries one of them is drawn
    examples: dict[str, PositiveInt]
    lora: Lora | None = None  # every weight is trained where it is not given, as in the paper


class ArmContestant(Section):
    kind: Literal["arm"]
    arm: str
    reads: str


class BaseContestant(Section):
    kind: Literal["base"]
    model: str
    reads: str


class RecordedContestant(Section):
    kind: Literal["recorded"]
    reads: str


class EndpointContestant(Section):
    kind: Literal["endpoint"]
    url: str
    model: str
    key_variable: str  # the environment variable that holds the key
    reads: str


Contestant = Annotated[
    ArmContestant | BaseContestant | RecordedContestant | EndpointContestant, Field(discriminator="kind")
]


class Comparison(Section):
    contestant: str
    rival: str


class FloorAnnotator(Section):
    kind: Literal["floor"]
    rule: Literal["longest", "random", "always-tie", "finished"]


class EndpointAnnotator(Section):
    kind: Literal["endpoint"]
    url: str
    model: str
    key_variable: str
    max_tokens: PositiveInt


Annotator = Annotated[FloorAnnotator | EndpointAnnotator, Field(discriminator="kind")]


# --- one section a stage ----------------------------------------------------------------------------------------


class Base(Section):
    seed: NonNegativeInt


class Scrape(Section):
    max_bad_share: Share
    workers: PositiveInt
    retries: NonNegativeInt
    part_megabytes: PositiveInt


class Characters(Section):
    """Bounds on a response's length, in characters of Markdown; both belong to the range."""

    min_chars: PositiveInt
    max_chars: PositiveInt

    @model_validator(mode="after")
    def is_a_range(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars {self.min_chars} is more than max_chars {self.max_chars}")
        return self


class StackExchangeFilter(Characters):
    min_response_score: int
    max_quoted_share: Share
    title_share: Share


class WikihowFilter(Characters):
    pass


class RedditFilter(Characters):
    min_score: int
    min_response_score: int
    train_subreddits: list[str]
    prompt_subreddits: list[str]


class NaturalInstructionsFilter(Section):
    categories: list[str]
    min_distinct_share: Share
    max_unpolished_share: Share
    min_median_words: PositiveInt
    max_prompt_chars: PositiveInt


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
    unfiltered_reservoir: PositiveInt
    edits: str
    language: Language
    near_duplicates: NearDuplicates
    stack_exchange: StackExchangeFilter
    wikihow: WikihowFilter
    reddit: RedditFilter
    natural_instructions: NaturalInstructionsFilter


class Prompts(Section):
    seed: NonNegativeInt
    dev: dict[str, PositiveInt]
    test: dict[str, PositiveInt]
    adversarial: dict[str, PositiveInt]


class DataCard(Section):
    """How much the card of an arm shows."""

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
    card: DataCard


class Dialogues(Section):
    """Which chains of comments become drafts of dialogues, and what makes one chain better than another."""

    most: PositiveInt
    min_exchanges: Annotated[int, Field(ge=2)]
    min_merit: Annotated[float, Field(ge=-1, le=1)]
    full_exchanges: PositiveInt
    full_reply_chars: PositiveInt
    full_score: PositiveInt


class Proofreading(Section):
    """What `lima corpus check` reads and where it draws the line, and how `lima corpus compare` measures."""

    folders: list[str]
    spelling: str
    max_jaccard: Annotated[float, Field(gt=0, le=1)]
    shingle_chars: PositiveInt
    closest: PositiveInt
    opening_words: PositiveInt
    most_openings: PositiveInt
    tokens_per_piece: PositiveFloat
    wording_chars: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    max_distance: Share
    draws: PositiveInt
    seed: NonNegativeInt


class Validate(Section):
    max_prompt_chars: PositiveInt
    max_response_chars: PositiveInt
    min_response_chars: PositiveInt


class Train(Section):
    launch: str
    model: str
    eot_token: str
    eot_start: Literal["mean", "eos"]
    epochs: PositiveInt
    batch_size: PositiveInt
    max_tokens: PositiveInt
    micro_batch_tokens: PositiveInt
    lr: PositiveFloat
    lr_end: NonNegativeFloat
    beta1: OpenShare
    beta2: OpenShare
    epsilon: PositiveFloat
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    residual_dropout: Annotated[float, Field(ge=0, lt=1)]
    precision: Literal["fp32", "bf16"]
    gradient_checkpointing: bool
    max_loss: PositiveFloat
    state_steps: PositiveInt
    keep_epochs: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    seed: NonNegativeInt

    @model_validator(mode="after")
    def the_kept_epochs_are_trained(self) -> Self:
        first, last = self.keep_epochs
        if not first <= last <= self.epochs:
            raise ValueError(f"keep_epochs {first} to {last} are no range within the 1 to {self.epochs} of epochs")
        return self

    @model_validator(mode="after")
    def the_rate_falls(self) -> Self:
        if self.lr_end > self.lr:
            raise ValueError(f"lr_end {self.lr_end} is more than lr {self.lr}; the rate falls from lr to lr_end")
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
    annotator: str
    decoding: Decoding


class Sample(Section):
    samples: PositiveInt
    concurrency: PositiveInt
    retries: NonNegativeInt
    timeout: PositiveFloat
    decoding: Decoding


class Judge(Section):
    annotators: list[str]
    concurrency: PositiveInt
    retries: NonNegativeInt
    timeout: PositiveFloat
    seed: NonNegativeInt


class Report(Section):
    confidence: OpenShare
    bootstrap: PositiveInt
    power: OpenShare
    side_by_side: PositiveInt
    seed: NonNegativeInt


class Params(Section):
    profile: str
    models: dict[str, Model]
    sources: dict[str, Source]
    arms: dict[str, Arm]
    contestants: dict[str, Contestant]
    comparisons: dict[str, Comparison]
    annotators: dict[str, Annotator]
    base: Base
    scrape: Scrape
    filter: Filter
    prompts: Prompts
    mix: Mix
    validate_: Validate = Field(alias="validate")
    train: Train
    select: Select
    sample: Sample
    judge: Judge
    report: Report
    dialogues: Dialogues
    proofreading: Proofreading

    @model_validator(mode="after")
    def every_name_leads_somewhere(self) -> Self:
        known: dict[str, Mapping[str, object]] = {
            "models": self.models,
            "sources": self.sources,
            "arms": self.arms,
            "contestants": self.contestants,
            "annotators": self.annotators,
        }
        named = [("train.model", "models", self.train.model), ("select.annotator", "annotators", self.select.annotator)]
        named += [("judge.annotators", "annotators", name) for name in self.judge.annotators]
        named += [("mix.held_out", "sources", name) for name in self.mix.held_out]
        named += [("mix.most_per_site", "sources", name) for name in self.mix.most_per_site]
        for part, sets in (
            ("dev", self.prompts.dev),
            ("test", self.prompts.test),
            ("adversarial", self.prompts.adversarial),
        ):
            named += [(f"prompts.{part}", "sources", name.split("/")[0]) for name in sets]
        for arm, a in self.arms.items():
            named += [(f"arms.{arm}.examples", "sources", source) for source in a.examples]
        for name, contestant in self.contestants.items():
            if isinstance(contestant, ArmContestant):
                named.append((f"contestants.{name}.arm", "arms", contestant.arm))
            if isinstance(contestant, BaseContestant):
                named.append((f"contestants.{name}.model", "models", contestant.model))
        for name, comparison in self.comparisons.items():
            named.append((f"comparisons.{name}.contestant", "contestants", comparison.contestant))
            named.append((f"comparisons.{name}.rival", "contestants", comparison.rival))
        wrong = [
            f"{place}: there is no {name!r} among the {kind} ({', '.join(known[kind])})"
            for place, kind, name in named
            if name not in known[kind]
        ]
        first, last = self.train.keep_epochs
        if not first <= self.select.first_epoch <= self.select.last_epoch <= last:
            wrong.append(
                f"select: epochs {self.select.first_epoch} to {self.select.last_epoch} are no range "
                f"within the {first} to {last} of train.keep_epochs"
            )
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def load(path: Path = Path("params.yaml")) -> Params:
    try:
        values = YAML(typ="safe").load(path)
    except FileNotFoundError as error:
        raise ParamsError(f"there is no {path} in {Path.cwd()}; start in the repository's root") from error
    except YAMLError as error:
        raise ParamsError(f"{path} is no YAML: {error}") from error
    return check(values, name=str(path))


def check(values: object, *, name: str) -> Params:
    """The parameters in a loaded YAML document; `name` stands in the errors."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        missing = [e["loc"] for e in error.errors() if e["type"] == "missing"]
        lines = [f"  {_place(e['loc'])}: {_fault(e, missing)}" for e in error.errors()]
        raise ParamsError("\n".join([f"{name} cannot be used:", *lines])) from error


def entry(registry: Mapping[str, Entry], kind: str, name: str) -> Entry:
    """One entry of a registry; an unknown name is told which there are."""
    if name not in registry:
        raise ParamsError(f"there is no {kind} {name!r}; params.yaml has {', '.join(registry)}")
    return registry[name]


def _fault(error: ErrorDetails, missing: Sequence[tuple[int | str, ...]]) -> str:
    """What is wrong and what would be right; where no key has a default, a misspelt one leaves another missing."""
    *section, key = error["loc"] or ("",)
    match error["type"]:
        case "missing":
            return "this key is missing; every number of the pipeline stands in this file"
        case "extra_forbidden":
            wanted = [str(loc[-1]) for loc in missing if loc[:-1] == tuple(section)]
            meant = get_close_matches(str(key), wanted, n=1)
            fix = f"{meant[0]} is missing, is that meant?" if meant else "nothing reads it: take it out"
            return f"there is no such key, and it has the value {_shown(error['input'])}; {fix}"
        case _:
            return f"{error['msg']}, not {_shown(error['input'])}"


def _place(loc: tuple[str | int, ...]) -> str:
    return ".".join(map(str, loc)) or "the file"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
