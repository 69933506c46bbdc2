"""Token counts with the base model's tokenizer, for comparison with the paper's (LIMA Table 1)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from lima.records import Example
from lima.reporting.results import MissingResult

Count = Callable[[Sequence[str]], list[int]]  # texts → number of tokens of each


def counter(base: Path) -> Count:
    """Return a function that counts tokens with the tokenizer in a folder, without special tokens.

    A special token spelled in a text counts as plain text, as in training.
    """
    path = base / "tokenizer.json"
    if not path.exists():
        raise MissingResult(f"{path} not found; run `dvc repro base@{base.name}` first")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True  # spelled ones are text

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoded.ids) for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    return count


def of_examples(examples: Sequence[Example], count: Count) -> list[int]:
    """Number of tokens of each example: the sum over its turns, without end-of-turn and role tokens."""
    turns = iter(count([turn.content for example in examples for turn in example.messages]))
    return [sum(next(turns) for _ in example.messages) for example in examples]
