"""Records exchanged between stages, as strict and immutable pydantic models."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from lima.constraint_types import Constraint


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Turn(Record):
    role: Literal["system", "user", "assistant"]  # system: only as the first turn; not used in the paper
    content: str


class Provenance(Record):
    """Origin of a text, for attribution."""

    source: str  # a key of sources in params.yaml
    site: str  # exchange, article category, subreddit, task or author group
    id: str  # assigned by the source
    url: str
    author: str
    license: str
    digest: str  # SHA-256 of the raw record, hexadecimal


class Candidate(Record):
    """A prompt with its response from a source, before filtering, in the source's markup."""

    id: str  # SOURCE/SITE/ID, unique across sources
    title: str  # plain text
    description: str  # "" if there is none
    response: str  # "" if there is none: the candidate can only become a prompt
    later_turns: tuple[Turn, ...]  # of a dialogue, after the first exchange
    markup: Literal["html", "markdown"]  # of description and response
    score: int | None  # of the question, article or submission
    response_score: int | None
    tags: tuple[str, ...]
    provenance: Provenance
    system: str = ""  # system turn, "" if there is none
    constraints: tuple[Constraint, ...] = ()  # verifiable instructions of the prompt


class Comment(Record):
    """A comment below an answer."""

    speaker: Literal["asker", "answerer", "other"]
    name: str  # "" if unknown
    text: str  # Markdown, as in the source
    score: int


class Thread(Record):
    """A question, one of its answers and the comments on that answer, before filtering."""

    title: str
    question: str  # HTML
    answer: str  # HTML
    score: int  # of the answer
    asker: str  # name
    answerer: str  # name
    remarks: tuple[Comment, ...]  # in chronological order
    tags: tuple[str, ...]
    provenance: Provenance  # of all texts by asker and answerer


class Dropped(Record):
    """A dropped row or candidate with the reason. Every drop is recorded."""

    reason: str  # "bad_row" if the raw row could not be parsed
    detail: str  # the parser's message, the matching phrase, the length, …
    place: str  # FILE:ROW in the dump, or the candidate's id
    raw: str  # the malformed row, unchanged; "" for a candidate, which is in candidates.jsonl
    rows: PositiveInt = 1  # number of rows that this record represents: skipped rows share one record


class Example(Record):
    """A prompt and its response, or a dialogue, in the form used for training."""

    id: str
    messages: tuple[Turn, ...]
    tags: tuple[str, ...]
    provenance: Provenance


class Credit(Record):
    """Attribution of an example: one line of attribution.csv."""

    split: str
    id: str
    source: str
    site: str
    title: str
    author: str  # "unknown" if missing in the source; the same holds for address and license
    address: str
    license: str
    license_address: str  # "" if it is unknown for the license
    changes: str  # modifications of the source's text
    missing: str  # comma-separated names of the fields that are unknown or incomplete: "author, address"


class Prompt(Record):
    """A prompt for contestants; its last turn is the user's. All turns of a scripted dialogue are the user's."""

    id: str
    messages: tuple[Turn, ...]
    tags: tuple[str, ...]
    provenance: Provenance
    constraints: tuple[Constraint, ...] = ()  # verifiable instructions (appendix E)


SCRIPTED = "kind:script"  # tag of a scripted dialogue, whose turns are all the user's (§6)


def is_script(record: Candidate | Prompt) -> bool:
    """Whether the record is a scripted dialogue: a contestant answers its turns one after the other."""
    return SCRIPTED in record.tags


def first_prompt(record: Example | Prompt) -> str:
    """Return the first user turn, which identifies a record; a system turn may precede it."""
    return next((turn.content for turn in record.messages if turn.role == "user"), record.messages[0].content)


class Funnel(Record):
    """Number of candidates of a source: offered, kept, prompts and dropped by reason."""

    source: str
    offered: NonNegativeInt
    kept: NonNegativeInt
    prompts: NonNegativeInt
    dropped: dict[str, PositiveInt]  # candidates by reason, in the order of the filters

    @model_validator(mode="after")
    def adds_up(self) -> Self:
        dropped = sum(self.dropped.values())
        if self.offered != self.kept + self.prompts + dropped:
            raise ValueError(
                f"{self.offered} offered, but {self.kept} kept + {self.prompts} prompts + {dropped} dropped"
            )
        return self


class StepMetrics(Record):
    """Metrics of one optimizer step. All losses use the natural logarithm."""

    step: PositiveInt  # optimizer steps completed
    epoch: PositiveInt
    loss: float  # mean per supervised token
    lr: float
    grad_norm: float  # before clipping
    tokens: PositiveInt  # all tokens of the step
    supervised_tokens: PositiveInt
    seconds: float


class EpochMetrics(Record):
    """Metrics of one epoch, and its checkpoint."""

    epoch: PositiveInt
    train_loss: float  # mean over the epoch's supervised tokens
    held_out_perplexity: float  # exp of the mean loss per supervised token of held_out.jsonl
    checkpoint: str  # folder name below data/train/ARM/
    digest: str  # SHA-256 of model.safetensors, hexadecimal


class EpochScore(Record):
    """Scores of one epoch's checkpoint."""

    epoch: PositiveInt
    checkpoint: str
    digest: str
    held_out_perplexity: float
    ended: float  # share of dev responses that end with EOT
    win: float  # share of dev prompts on which the annotator prefers this checkpoint to the untuned base
    tie: float
    lose: float
    score: float  # win − lose


NoReplyReason = Literal[
    "refused",  # by the provider's content filter
    "rejected",  # by the server, for this request only
    "empty",  # no text: a tool call, or reasoning only
    "truncated",  # before the answer or the verdict
    "timed_out",
    "unavailable",  # rate limit, server error or broken connection, after all retries
    "malformed",  # not a chat completion, after all retries
    "too_long",  # the prompt does not fit into the model's context
    "over_budget",  # not requested, because the budget was used up
]


class Usage(Record):
    """Accounting of one request to a server; unchanged if its reply comes from the cache."""

    model: str | None  # the model that answered, as reported by the server
    prompt_tokens: NonNegativeInt | None
    completion_tokens: NonNegativeInt | None
    cost: NonNegativeFloat | None  # in the currency of the endpoint's prices; None without prices
    seconds: NonNegativeFloat  # of the last attempt
    attempts: PositiveInt  # requests sent, including retries


class Response(Record):
    prompt_id: str
    contestant: str
    sample: NonNegativeInt
    turn: NonNegativeInt = 0  # index of the response in a scripted dialogue
    text: str  # without reasoning blocks
    finish: Literal["stop", "length"]  # "stop": ended with EOT
    finish_reason: str | None = None  # as reported by the server; None without a server
    tokens: NonNegativeInt | None  # None if unknown
    usage: Usage | None = None  # None without a server


class AnswerLikelihood(Record):
    """Log-likelihood of a recorded answer under a contestant's model, given the prompt; natural logarithm."""

    prompt_id: str
    sample: NonNegativeInt
    log_likelihood: float  # sum over the scored tokens, without the end token
    tokens: PositiveInt  # scored
    truncated: bool  # whether the end of the answer was not scored

    @property
    def per_token(self) -> float:
        return self.log_likelihood / self.tokens


class Unanswered(Record):
    """A request to a contestant that failed, with the reason: one line of unanswered.jsonl."""

    prompt_id: str
    contestant: str
    sample: NonNegativeInt
    turn: NonNegativeInt = 0
    reason: NoReplyReason
    detail: str  # the server's words, redacted


Task = Literal["pairwise", "rating", "grade", "safety", "attack", "constraint", "dialogue"]
MissingReason = Literal[
    NoReplyReason,
    "unparsed",  # no readable verdict in the reply
    "inconsistent",  # pairwise: another winner in the other order
    "undecided",  # the rules cannot decide
    "skipped",  # by a person
]


class JudgeReply(Record):
    """One reply of an annotator: to one order of a pair, or to one response."""

    first: str | None  # pairwise: the contestant shown first; None for other tasks
    value: str | None  # pairwise: "first", "second" or "tie"; other tasks: a value of the task; None if there is none
    text: str  # the annotator's words; "" for a rule, and without a reply
    reason: MissingReason | None = None  # why value is None
    detail: str = ""  # the server's message, redacted
    usage: Usage | None = None  # None without a request


class Judgment(Record):
    """One annotator's judgment of one item; pairs are judged in both orders (§4)."""

    evaluation: str
    task: Task
    annotator: str
    person: str | None = None  # pseudonym, if the annotator is a person
    prompt_id: str
    sample: NonNegativeInt
    turn: NonNegativeInt = 0  # of a dialogue
    contestant: str
    rival: str | None = None  # pairwise only
    value: str | None  # one of the task's values; of a pair the contestant's outcome: win, tie or lose
    reason: MissingReason | None = None  # why value is None
    detail: str = ""  # of a constraint: the first violation; of a live conversation: OFF_SUBJECT
    replies: tuple[JudgeReply, ...] = ()
    simulated: bool = False  # by a program instead of a person


OFF_SUBJECT = "off_subject"  # reason of an annotation and detail of a judgment: the response leaves the subject


class LiveExchange(Record):
    """One exchange of a conversation that a person holds with a contestant (§6)."""

    asked: str  # the person's turn
    response: str


class Annotation(Record):
    """A person's judgment of one item, as `lima annotate` writes it."""

    id: str
    evaluation: str
    task: Task
    person: str  # pseudonym
    prompt_id: str
    sample: NonNegativeInt
    turn: NonNegativeInt = 0
    contestant: str
    rival: str | None = None
    texts: str  # SHA-256 of the judged responses, hexadecimal: joined by a null character, the contestant's first
    first: str | None  # pairwise: the contestant shown first
    value: str | None  # as in Judgment; None if the person skipped the item
    reason: str = ""  # of a skipped item, or OFF_SUBJECT for a response in a live conversation
    comment: str = ""
    seconds: NonNegativeFloat
    time: str  # ISO 8601, UTC
    kind: Literal["main", "attention", "repeat", "adjudication"] = "main"  # adjudication: of people who differ
    simulated: bool = False  # by a program, for tests and demonstrations
    exchange: LiveExchange | None = None  # of a live conversation: the exchange whose response is judged


class FailedExpectation(Record):
    split: str  # train, held_out, dev or test
    says: str  # the expectation in words
    observed: str
    ids: tuple[str, ...]  # of the failing rows; () if it concerns the whole table


class ValidationResult(Record):
    """Result of the stage validate; train requires it."""

    arm: str
    passed: bool
    train_digest: str  # SHA-256 of train.jsonl, hexadecimal
    expectations: PositiveInt
    failures: tuple[FailedExpectation, ...]
    warnings: tuple[FailedExpectation, ...] = ()  # failed too, but training may start
