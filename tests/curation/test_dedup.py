import subprocess
import sys
from math import sqrt
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rensa import RMinHash

from lima.config import ParamsError, check
from lima.config.sections import NearDuplicates
from lima.curation import dedup
from lima.curation.dedup import NearDuplicate, NearDuplicateIndex, jaccard, shingles
from lima.records import Example, Prompt, Provenance, Turn

P = NearDuplicates(words=5, least_jaccard=0.7, permutations=128, bands=32)
WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40)


def example(number: object, answer: str, prompt: str = "How?") -> Example:
    place = Provenance(source="s", site="t", id=str(number), url="", author="", license="MIT", digest="")
    turns = (Turn(role="user", content=prompt), Turn(role="assistant", content=answer))
    return Example(id=f"s/t/{number}", messages=turns, tags=(), provenance=place)


def numbers(first: int, last: int) -> str:
    return " ".join(map(str, range(first, last)))


def test_jaccard_is_shared_ngrams_over_all_ngrams():
    # abcde bcdef | abcde bcdeg: one of three
    assert jaccard(shingles("a b c d e f", words=5), shingles("A, b c: d e G!", words=5)) == 1 / 3
    assert shingles("too short", words=5) == {"too short"}


def test_threshold_is_inclusive():
    # runs of 5 in 104 words: 100. Without the last 15: 85, all of them shared, 0.85; without 30: 70, 0.7; 31: 0.69
    for cut, duplicate in ((15, NearDuplicate("s/t/0", 0.85)), (30, NearDuplicate("s/t/0", 0.7)), (31, None)):
        index = NearDuplicateIndex(NearDuplicates(words=5, least_jaccard=0.7, permutations=128, bands=128))
        assert index.find(example(0, numbers(0, 104), prompt="")) is None
        assert index.find(example(1, numbers(0, 104 - cut), prompt="")) == duplicate


def test_near_duplicate_is_not_compared_with_later_records():
    index = NearDuplicateIndex(P)
    first, second, third = example(0, numbers(0, 100)), example(1, numbers(15, 115)), example(2, numbers(30, 130))
    assert index.find(first) is None
    assert index.find(second)
    assert index.find(third) is None  # like the second, which is not kept


def test_most_similar_record_is_returned():
    index = NearDuplicateIndex(P, [example(0, numbers(0, 100)), example(1, numbers(3, 103))])
    assert index.find(example(2, numbers(2, 102))).id == "s/t/1"


def test_shared_definition_or_short_answer_is_not_a_near_duplicate_but_a_copied_answer_is():
    definition = numbers(0, 90)
    index = NearDuplicateIndex(
        P, [example(0, "The cat sat on the mat.", prompt=f"{definition} cat"), example(1, "4", prompt="2 + 2?")]
    )
    assert index.find(example(2, "A dog ran to the old barn.", prompt=f"{definition} dog")) is None
    assert index.find(example(3, "4", prompt="How many legs has a horse?")) is None
    assert index.find(example(4, numbers(200, 400), prompt="Why is the sky blue?")) is None
    assert index.find(example(5, numbers(200, 400), prompt="What makes skies blue?")).id == "s/t/4"


def test_instances_of_a_task_are_not_compared_for_their_shared_definition(monkeypatch):
    compared = []
    monkeypatch.setattr(dedup, "jaccard", lambda *runs: compared.append(runs) or 0.0)
    index = NearDuplicateIndex(P)
    for number in range(100):
        assert index.find(example(number, numbers(1000 * number, 1000 * number + 9), prompt=numbers(0, 90))) is None
    assert compared == []


def test_prompt_is_near_duplicate_of_an_exchange_with_a_short_answer():
    prompt = numbers(0, 100)
    place = Provenance(source="s", site="t", id="p", url="", author="", license="MIT", digest="")
    alone = Prompt(id="s/t/p", messages=(Turn(role="user", content=prompt),), tags=(), provenance=place)
    assert NearDuplicateIndex(P, [alone]).find(example(1, "Yes.", prompt=prompt)).id == "s/t/p"
    assert NearDuplicateIndex(P, [example(1, "Yes.", prompt=prompt)]).find(alone).id == "s/t/1"


@given(st.lists(WORDS, max_size=8))
def test_kept_records_are_distinct(texts):
    index = NearDuplicateIndex(P)
    kept = [words for number, words in enumerate(texts) if not index.find(example(number, " ".join(words)))]
    assert len({" ".join(words) for words in kept}) == len(kept)


def test_the_estimate_agrees_with_the_exact_index():
    """300 pairs: 200 runs, k of them shared, J = k / (400 − k)."""
    errors = []
    for number in range(300):
        shared = number * 200 // 300
        left = {f"{number} {n}" for n in range(200)}
        right = {f"{number} {n}" for n in range(200 - shared, 400 - shared)}
        signatures = []
        for runs in (left, right):
            signature = RMinHash(num_perm=P.permutations, seed=0)
            signature.update(sorted(runs))
            signatures.append(signature)
        exact = jaccard(frozenset(left), frozenset(right))
        assert exact == pytest.approx(shared / (400 - shared))
        errors.append(signatures[0].jaccard(signatures[1]) - exact)
    # standard error √(J (1 − J) / 128) ≤ 0.0442; of the mean of 300 ≤ 0.0026, five of them either side
    assert abs(mean(errors)) < 5 * 0.5 / sqrt(128 * 300)
    assert pstdev(errors) < 0.0442


def test_a_pair_at_the_threshold_is_found():
    """1 − (1 − 0.7^4)^32 = 0.9998: of 300 pairs at J = 0.7, 0.05 are missed on average."""
    missed = 0
    for number in range(300):
        text = " ".join(f"w{number}x{n}" for n in range(104))  # 100 runs
        index = NearDuplicateIndex(P, [example(0, text, prompt="")])
        missed += index.find(example(1, " ".join(text.split()[:74]), prompt="")) is None  # 70 of them
    assert missed <= 2


def test_signatures_do_not_depend_on_the_process():
    words = (
        "from rensa import RMinHash as M; m = M(num_perm=8, seed=0); m.update(list({'a b', 'c d'})); print(m.digest())"
    )
    digests = {
        subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


def test_bands_must_divide_the_permutations():
    from pathlib import Path

    from ruamel.yaml import YAML

    values = YAML(typ="safe").load(Path(__file__).parents[2] / "params.yaml")
    values["filter"]["near_duplicates"]["bands"] = 30
    with pytest.raises(ParamsError, match="128 permutations do not divide into 30 bands"):
        check(values, name="params.yaml")
