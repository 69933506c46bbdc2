"""`lima arms add` extends params.yaml and changes no other line of it."""

import difflib
import subprocess
import sys
from pathlib import Path

import pytest

from lima import config
from lima.config import profiles
from lima.config.new_arm import ArmError, NewArm, add


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    profiles.use("laptop", force=True)
    return tmp_path


def changed_lines(before: str) -> list[str]:
    """The lines of the earlier text that are no longer there; the others are in their order."""
    diff = difflib.unified_diff(before.splitlines(), Path("params.yaml").read_text().splitlines(), n=0, lineterm="")
    return [line[1:] for line in diff if line.startswith("-") and not line.startswith("--- ")]


def test_another_recipe_is_compared_with_the_arm_it_is_a_copy_of(checkout):
    before = Path("params.yaml").read_text()
    added = add(NewArm("more", copied="lima", examples={"wikihow": 4, "reddit": 0}, axes=("size",)))
    p = config.load()
    assert changed_lines(before) == []
    expected = {**p.arms["lima"].examples, "wikihow": 4}
    del expected["reddit"]
    assert p.arms["more"].examples == expected
    assert p.arms["more"].without == p.arms["lima"].without
    assert p.contestants["more"].reads == "data/select/more"
    assert added.evaluations == (
        "more-lima",
        "more-base-constraints",
        "more-base-attacks",
        "more-base-dialogues",
        "more-base-conversations",
    )
    assert (p.evaluations["more-lima"].contestant, p.evaluations["more-lima"].rival) == ("more", "lima")
    assert p.evaluations["more-base-attacks"].prompts == "adversarial"
    assert p.ablations["size"] == ["lima", "more"]
    assert p.uncompared_arms() == {}
    assert [file.read_bytes() for file in added.files] == [b"\n"] * 5
    assert {file.stem for file in added.files} == set(added.evaluations)


def test_an_arm_that_is_only_a_rival_is_the_rival_of_its_copies(checkout):
    # else the responses of its contestant would be judged again, and those of the reference would not
    profiles.use("laptop-ablations", force=True)
    add(NewArm("more", copied="stackexchange-8", examples={"wikihow": 4}))
    added = {name: (e.contestant, e.rival) for name, e in config.load().evaluations.items() if "more" in name}
    assert set(added.values()) == {("more", "stackexchange-8")}
    assert len(added) == 2  # pairs and constraints


def test_a_repetition_is_compared_like_its_original_with_equal_seeds(checkout):
    add(NewArm("lima-2", copied="lima", data_seed=18, train_seed=18))
    p = config.load()
    assert p.repetitions("lima") == ["lima", "lima-2"]
    assert p.ablations["quality"] == ["lima", "unfiltered", "lima-2"]
    # as lima: with the base model, unfiltered and the authors, and four evaluations of single responses
    assert [e for e in p.evaluations if "lima-2" in e] == [
        "lima-2-base",
        "lima-2-unfiltered",
        "lima-2-authors",
        "lima-2-base-constraints",
        "lima-2-base-attacks",
        "lima-2-base-dialogues",
        "lima-2-base-conversations",
    ]
    add(NewArm("unfiltered-2", copied="unfiltered", data_seed=18, train_seed=18))
    # unfiltered is compared with lima and with lima-2; the repetition with the repetition of equal seeds
    rivals = {(e.contestant, e.rival) for e in config.load().evaluations.values() if e.rival == "unfiltered-2"}
    assert rivals == {("lima-2", "unfiltered-2")}


@pytest.mark.parametrize("name", profiles.names())
def test_only_lists_of_ablations_change_in_every_profile(checkout, name):
    profiles.use(name, force=True, accept_gemma_terms=True)
    before = Path("params.yaml").read_text()
    arm = next(iter(config.load().arms))
    axes = [axis for axis, arms in config.load().ablations.items() if arm in arms]
    add(NewArm("again", copied=arm, train_seed=99))
    assert [line.split(":")[0].strip() for line in changed_lines(before)] == axes
    assert list(config.load().arms)[-1] == "again"


def test_a_list_in_block_style_and_an_empty_section_are_extended(checkout):
    text = Path("params.yaml").read_text()
    block = "ablations:\n  quality:\n    - lima  # kept\n    - unfiltered  # §5\n"
    Path("params.yaml").write_text(text.replace("ablations:\n  quality: [lima, unfiltered]  # §5\n", block))
    add(NewArm("more", copied="lima", examples={"wikihow": 3}, axes=("quality",)))
    assert "    - unfiltered  # §5\n    - more\n" in Path("params.yaml").read_text()
    Path("params.yaml").write_text(
        text.replace("ablations:\n  quality: [lima, unfiltered]  # §5\n", "ablations: {}  # none\n")
    )
    add(NewArm("more", copied="lima", examples={"wikihow": 3}, axes=("size",)))
    assert config.load().ablations == {"size": ["lima", "more"]}
    assert "ablations:  # none\n  size: [lima, more]\n" in Path("params.yaml").read_text()


WRONG = {
    "a name in use": (NewArm("unfiltered", copied="lima", train_seed=1), "arm exists: unfiltered; choose another name"),
    "a contestant's name": (NewArm("authors", copied="lima", train_seed=1), "contestant exists: authors"),
    "no change": (NewArm("same", copied="lima"), "arm same would equal arm lima; change a source, the pool"),
    "an unknown arm": (NewArm("a", copied="lma"), "unknown arm: 'lma'.* did you mean lima"),
    "an unknown source": (NewArm("a", copied="lima", examples={"wiki": 1}), "unknown source: 'wiki'"),
    "an invalid key": (NewArm("a.b", copied="lima", train_seed=1), r"'a\.b' cannot be a key"),
    "an invalid pool": (NewArm("a", copied="lima", pool="all"), r"arms\.a\.pool: .* not 'all'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_nothing_is_written_if_the_arm_is_invalid(checkout, case):
    new, message = WRONG[case]
    before = Path("params.yaml").read_bytes()
    with pytest.raises((ArmError, config.ParamsError), match=message):
        add(new)
    assert Path("params.yaml").read_bytes() == before
    assert not Path("corpus").exists()


def test_the_command_adds_an_arm_and_lists_all(checkout):
    lima = [sys.executable, "-m", "lima.cli", "arms"]
    options = ["--examples", "stack_exchange_stem=16", "--data-seed", "5", "--axis", "quantity", "--pool", "unfiltered"]
    done = subprocess.run([*lima, "add", "more", "--from", "unfiltered", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "added arm more with contestant more and 1 evaluation: more-unfiltered"
    assert done.stdout.splitlines()[1] == "run `dvc repro` to train and compare it"
    shown = subprocess.run([*lima, "list"], capture_output=True, text=True, check=True).stdout
    [line] = [line for line in shown.splitlines() if line.strip().startswith("more ")]
    assert line.split() == ["more", "22", "unfiltered", "5", "17", "quantity", "unfiltered"]
    wrong = subprocess.run(
        [*lima, "add", "b", "--from", "lima", "--examples", "wikihow"], capture_output=True, text=True
    )
    assert wrong.returncode == 1
    assert wrong.stderr == "error: --examples is not SOURCE=N: 'wikihow'; write, for example, wikihow=2000\n"
