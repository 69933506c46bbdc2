"""The paper's own figures, for standing beside ours (LIMA Table 1, §3, §4)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of Table 1; tokens are means."""

    name: str
    examples: int
    prompt_tokens: int
    response_tokens: int | None  # None for prompts


TRAIN = {
    "stack_exchange_stem": Row("Stack Exchange, STEM", 200, 117, 523),
    "stack_exchange_other": Row("Stack Exchange, other", 200, 119, 530),
    "wikihow": Row("wikiHow", 200, 12, 1811),
    "reddit": Row("Pushshift r/WritingPrompts", 150, 34, 274),
    "natural_instructions": Row("Super-Natural Instructions", 50, 236, 92),
    "authored": Row("authors, group A", 200, 40, 334),
}
DEV = {"authored/A": Row("authors, group A", 50, 36, None)}
TEST = {
    "reddit/AskReddit": Row("Pushshift r/AskReddit", 70, 30, None),
    "authored/B": Row("authors, group B", 230, 31, None),
}
MODEL = "LLaMA 65B"
TRAINING_EXAMPLES = 1000
TEST_PROMPTS = 300
EPOCHS = 15
MAX_TOKENS = 2048  # of an example in training, and of a response
