"""Hold an arm's training set, and the prompts it meets, to the gate: `python -m lima.stages.validate ARM`."""

import hashlib

from rich.console import Console
from rich.table import Table

from lima import jsonl, params, paths
from lima.errors import LimaError, command
from lima.gates import Bounds, Split, check
from lima.records import Example, FailedExpectation, Gate, Prompt


class GateError(LimaError):
    """The data does not pass; the table of what failed has been printed before."""


def main(arm: str) -> None:
    p = params.load()
    examples = params.entry(p.arms, "arm", arm).examples
    mixed, prompts = paths.result("mix", arm), paths.result("prompts")
    splits = {
        "train": Split(list(jsonl.read(mixed / "train.jsonl", Example)), examples, True, ("held_out", "dev", "test")),
        "held_out": Split(list(jsonl.read(mixed / "held_out.jsonl", Example)), p.mix.held_out, True, ("dev", "test")),
        "dev": Split(list(jsonl.read(prompts / "dev.jsonl", Prompt)), p.prompts.dev, False, ("test",)),
        "test": Split(list(jsonl.read(prompts / "test.jsonl", Prompt)), p.prompts.test, False, ()),
    }
    v = p.validate_
    bounds = Bounds((1, v.max_prompt_chars), (v.min_response_chars, v.max_response_chars), p.train.eot_token)
    with paths.publish("validate", arm) as folder:
        asked, failures = check(splits, bounds, folder / "docs")
        gate = Gate(
            arm=arm,
            passed=not failures,
            train_digest=hashlib.sha256((mixed / "train.jsonl").read_bytes()).hexdigest(),
            expectations=asked,
            failures=tuple(failures),
        )
        jsonl.write(folder / "gate.json", [gate])
    docs = paths.result("validate", arm) / "docs" / "index.html"
    if failures:
        show(failures)
        raise GateError(
            f"arm {arm}: {len(failures)} of {asked} expectations are not met, so train cannot start; "
            f"look at {docs}, mend the rows or the filters, and run `dvc repro` again"
        )
    print(f"{arm}: {asked} expectations met over {', '.join(splits)}; {docs}")


def show(failures: list[FailedExpectation]) -> None:
    """What failed and whom it concerns, as a table; ids below one another so that they can be copied."""
    shown = Table("split", "expected", "observed", "ids of the rows", title="The gate is shut", show_lines=True)
    for failure in failures:
        shown.add_row(failure.split, failure.says, failure.observed, "\n".join(failure.ids) or "the whole table")
    Console(stderr=True, width=max(100, Console(stderr=True).width)).print(shown)


if __name__ == "__main__":
    command(main)
