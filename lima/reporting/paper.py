"""Values of the paper, for comparison (LIMA Table 1, §3, §4)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """A row of Table 1; tokens are means."""

    name: str
    examples: int
    prompt_tokens: int
    response_tokens: int | None  # None for prompts


TRAIN = {
    "stack_exchange_stem": PaperRow("Stack Exchange, STEM", 200, 117, 523),
    "stack_exchange_other": PaperRow("Stack Exchange, other", 200, 119, 530),
    "wikihow": PaperRow("wikiHow", 200, 12, 1811),
    "reddit": PaperRow("Pushshift r/WritingPrompts", 150, 34, 274),
    "natural_instructions": PaperRow("Super-Natural Instructions", 50, 236, 92),
    "authored": PaperRow("authors, group A", 200, 40, 334),
}
DEV = {"authored/A": PaperRow("authors, group A", 50, 36, None)}
TEST = {
    "reddit/AskReddit": PaperRow("Pushshift r/AskReddit", 70, 30, None),
    "authored/B": PaperRow("authors, group B", 230, 31, None),
}
MODEL = "LLaMA 65B"
TRAINING_EXAMPLES = 1000
TEST_PROMPTS = 300
EPOCHS = 15
MAX_TOKENS = 2048  # of an example in training, and of a response


@dataclass(frozen=True)
class PaperPreference:
    """Shares of LIMA's win, tie and loss against a rival, in percent (§4.1)."""

    rival: str
    names: tuple[str, ...]  # beginnings of a contestant's name, lower case without punctuation
    people: tuple[int, int, int]
    gpt4: tuple[int, int, int]  # GPT-4 as annotator


PREFERENCES = (
    PaperPreference("Alpaca 65B", ("alpaca",), (53, 21, 26), (64, 19, 17)),
    PaperPreference("DaVinci003", ("davinci003", "textdavinci003", "davinci"), (44, 21, 35), (54, 23, 23)),
    PaperPreference("Bard", ("bard",), (33, 25, 42), (27, 26, 47)),
    PaperPreference("Claude", ("claude",), (24, 22, 54), (14, 23, 63)),
    PaperPreference("GPT-4", ("gpt4",), (18, 25, 57), (19, 15, 66)),
)
GRADES = {"fail": 0.12, "pass": 0.38, "excellent": 0.50}  # 50 test prompts, §4.3
SAFE = 0.80  # of 30 sensitive test prompts, §4.3


@dataclass(frozen=True)
class PaperDialogues:
    """Grades of the responses in ten live conversations (§6)."""

    name: str
    responses: int
    excellent: int
    passed: int
    failed: int
    failed_dialogues: int | None  # that fail within FAILED_WITHIN exchanges; None: not specified


FAILED_WITHIN = 3  # exchanges, §6
DIALOGUES = (
    PaperDialogues("LIMA, no dialogues in training", 42, 19, 8, 15, 6),
    PaperDialogues("LIMA, 30 dialogues in training", 46, 35, 10, 1, None),
)
DIALOGUES_COMPARED = (7, 3, 0)  # of ten: with dialogues in training better, equal, worse, §6
RATINGS = {"wikiHow": 3.49, "filtered Stack Exchange": 3.83, "unfiltered Stack Exchange": 3.33}  # 7B models, §5
RATINGS_BY_ABLATION = {  # mean ratings of 7B models, §5
    "diversity": {name: RATINGS[name] for name in ("wikiHow", "filtered Stack Exchange")},
    "quality": {name: RATINGS[name] for name in ("unfiltered Stack Exchange", "filtered Stack Exchange")},
}
ABLATIONS = {  # in words, §5
    "diversity": (
        "In the paper, 7B models trained on 2,000 examples, rated 1 to 6 by GPT-3.5: wikiHow 3.49, filtered Stack "
        "Exchange 3.83, a difference of 0.34; other models, data and prompts than here."
    ),
    "quality": (
        "In the paper, 7B models trained on 2,000 examples, rated 1 to 6 by GPT-3.5: unfiltered Stack Exchange 3.33, "
        "filtered 3.83, a difference of 0.50; other models, data and prompts than here."
    ),
    "quantity": (
        "In the paper, 7B models trained on 2,000 to 32,000 examples of filtered Stack Exchange, rated 1 to 6 by "
        "GPT-3.5: the mean stays flat; other models, data and prompts than here."
    ),
}
AGREEMENT = {  # tie-discounted, of 50 shared comparisons, §4.2
    "crowd – crowd": 0.82,
    "crowd – author": 0.81,
    "author – author": 0.78,
    "crowd – GPT-4": 0.78,
    "author – GPT-4": 0.79,
}


def preference_against(rival: str) -> PaperPreference | None:
    """The paper's preference for LIMA against a rival with this name."""
    name = "".join(character for character in rival.lower() if character.isalnum())
    return next((row for row in PREFERENCES if name.startswith(row.names)), None)
