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
