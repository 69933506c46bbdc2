"""How many tokens a text is to the base model, so that lengths stand beside the paper's (LIMA Table 1)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from lima.records import Example
from lima.reporting.results import Missing

Count = Callable[[Sequence[str]], list[int]]  # texts → the tokens of each


def counter(base: Path) -> Count:
    """Counts tokens as the model in the folder `base` does; without its special ones."""
    path = base / "tokenizer.json"
    if not path.exists():
        raise Missing(f"there is no {path}; run `dvc repro base@{base.name}` first")
    tokenizer = Tokenizer.from_file(str(path))

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoded.ids) for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    return count


def of_examples(examples: Sequence[Example], count: Count) -> list[int]:
    """The tokens of each example: of all its turns, each counted by itself, without end-of-turn and role tokens."""
    turns = iter(count([turn.content for example in examples for turn in example.messages]))
    return [sum(next(turns) for _ in example.messages) for example in examples]
