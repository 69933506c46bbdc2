"""What may not be concluded from a run, worked out from its parameters and its numbers (LIMA §2, §4, §5)."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lima.chat_types import counts
from lima.config import Params
from lima.config.entries import ArmContestant, FloorAnnotator, RandomModel, RecordedContestant
from lima.evaluation.statistics import USABLE, Preference
from lima.reporting import paper
from lima.reporting.metrics import Preferences, ended
from lima.reporting.results import Results

RULES = {
    "longest": "prefers the longer answer",
    "random": "throws a coin",
    "always-tie": "never prefers any answer",
    "finished": "prefers the answer that ended by itself",
}


class Caveat(NamedTuple):
    claim: str  # that may not be made
    why: str


def caveats(p: Params, results: Results, measured: Preferences, lengths: Mapping[str, list[int]]) -> list[Caveat]:
    """The gravest first; `lengths` gives each arm's training examples in tokens."""
    return [
        *_base(p),
        *_annotators(p, measured),
        *_unusable(measured),
        *_uncompared(p),
        *_epochs(p),
        *_size(p, results),
        *_adapters(p),
        *_sensitivity(measured),
        *_priors(results),
        *_luck(p),
        *_unanswered(results),
        *_cut(p, results, lengths),
        *_unlike_data(p, results, lengths),
        *_recorded(p),
    ]


def _base(p: Params) -> Iterator[Caveat]:
    model = p.models[p.train.model]
    if isinstance(model, RandomModel):
        yield Caveat(
            "Anything about quality.",
            "The base is a random model: it knows no language, so every figure below only shows that the graph runs "
            "from end to end.",
        )
    elif re.search(r"instruct|chat|[-_]it\b", str(model), re.IGNORECASE):
        yield Caveat(
            "Anything about superficial alignment.",
            f"The base ({p.train.model}: {model}) has been tuned on instructions before, while the hypothesis "
            "is about a model that has only been pretrained: what an arm gains over it is not what alignment gives.",
        )


def _annotators(p: Params, measured: Preferences) -> Iterator[Caveat]:
    used = list(dict.fromkeys(name for by_annotator in measured.values() for name in by_annotator))
    floors = {name: a.rule for name in used if isinstance(a := p.annotators[name], FloorAnnotator)}
    rules = ", ".join(f"{name} {RULES[rule]}" for name, rule in floors.items())
    if floors and len(floors) == len(used):
        yield Caveat(
            "That any contestant answers better than another.",
            "No person and no model has read the answers: all annotators are floors, rules that a real annotator has "
            f"to beat ({rules}).",
        )
    elif floors:
        yield Caveat("Anything from the floors.", f"They are rules that a real annotator has to beat: {rules}.")


def _unusable(measured: Preferences) -> Iterator[Caveat]:
    """One caveat for each annotator that left comparisons without a verdict, in part or altogether."""
    for annotator in dict.fromkeys(name for by_annotator in measured.values() for name in by_annotator):
        of = {name: by[annotator] for name, by in measured.items() if annotator in by}
        worthless = [name for name, value in of.items() if not value.usable]
        if worthless:
            yield Caveat(
                f"Anything from {annotator} about {', '.join(worthless)}.",
                "It gave no usable verdict there, which is not a tie: "
                f"{'; '.join(_without_verdict(name, of[name]) for name in worthless)}.",
            )
        partly = [name for name, value in of.items() if 0 < value.usable < value.n]
        if partly:
            yield Caveat(
                f"That {annotator} is consistent.",
                "Some of its verdicts cannot be used and count for neither side: "
                f"{'; '.join(_without_verdict(name, of[name]) for name in partly)}.",
            )


def _without_verdict(comparison: str, value: Preference) -> str:
    shares = {outcome: share for outcome, share in value.shares.items() if outcome not in USABLE}
    return f"{_shares(shares)} of {value.n:,} in {comparison}"


def _epochs(p: Params) -> Iterator[Caveat]:
    judge = p.annotators[p.select.annotator]
    if isinstance(judge, FloorAnnotator):
        yield Caveat(
            "That the chosen epochs are the best.",
            f"A rule chose them: {p.select.annotator} {RULES[judge.rule]}. In the paper people did, by reading.",
        )


def _uncompared(p: Params) -> Iterator[Caveat]:
    for arm, warning in p.uncompared_arms().items():
        yield Caveat(f"How {arm} compares with any other contestant.", f"{warning[0].upper()}{warning[1:]}.")


def _adapters(p: Params) -> Iterator[Caveat]:
    small = [name for name, arm in p.arms.items() if arm.lora]
    if small:
        yield Caveat(
            f"That {', '.join(small)} follow{'s' if len(small) == 1 else ''} the paper's recipe.",
            "LoRA: small matrices were trained beside frozen weights; the paper trains every weight.",
        )


def _size(p: Params, results: Results) -> Iterator[Caveat]:
    largest = max(len(arm.train) for arm in results.arms.values())
    ours = (largest, p.train.epochs, p.train.max_tokens, len(results.test))
    if ours != (paper.TRAINING_EXAMPLES, paper.EPOCHS, paper.MAX_TOKENS, paper.TEST_PROMPTS):
        yield Caveat(
            "How large the paper's effects are.",
            f"The profile {p.profile} trains on up to {largest:,} examples of at most {p.train.max_tokens:,} tokens "
            f"for {p.train.epochs} epochs and asks {len(results.test):,} test prompts; the paper trained {paper.MODEL} "
            f"on {paper.TRAINING_EXAMPLES:,} of at most {paper.MAX_TOKENS:,} for {paper.EPOCHS} and asked "
            f"{paper.TEST_PROMPTS}.",
        )


def _sensitivity(measured: Preferences) -> Iterator[Caveat]:
    found = [
        (value.smallest, value.prompts)
        for of in measured.values()
        for value in of.values()
        if value.smallest is not None
    ]
    if found:
        finest, prompts = min(found)
        least = f"below {100 * finest:.0f} points" if finest <= 1 else "of any size"
        yield Caveat(
            "That contestants are equal where no difference was found.",
            f"With {prompts} prompts, even the finest of these comparisons could easily have missed a net preference "
            f"{least}.",
        )


def _priors(results: Results) -> Iterator[Caveat]:
    trained = {example.provenance.source for arm in results.arms.values() for example in arm.train}
    shared = [prompt for prompt in results.test if prompt.provenance.source in trained]
    if shared:
        origins = sorted({f"{prompt.provenance.source}/{prompt.provenance.site}" for prompt in shared})
        yield Caveat(
            "How the arms do on the prompts of strangers.",
            f"{len(shared)} of {len(results.test)} test prompts ({', '.join(origins)}) come from sources that were "
            "trained on too. The paper says the same of its groups A and B, who had contact before writing and so "
            "shared priors.",
        )


def _luck(p: Params) -> Iterator[Caveat]:
    answers = "one answer" if p.sample.samples == 1 else f"{p.sample.samples} answers"
    yield Caveat(
        "That another run would say the same.",
        f"Each arm was trained once, from one seed, and gave {answers} to each prompt. The intervals speak of the "
        "choice of prompts and not of that luck.",
    )


def _unanswered(results: Results) -> Iterator[Caveat]:
    failures = {name: Counter(failure.reason for failure in of) for name, of in results.unanswered.items() if of}
    if failures:
        counted = "; ".join(
            f"{name}: {reasons.total():,} without an answer ({counts(reasons)})" for name, reasons in failures.items()
        )
        yield Caveat(
            f"How {', '.join(failures)} would have answered every prompt.",
            f"Questions without an answer are compared with nothing and are in no figure below: {counted}.",
        )


def _cut(p: Params, results: Results, lengths: Mapping[str, list[int]]) -> Iterator[Caveat]:
    cut = {name: 1 - ended(responses) for name, responses in results.responses.items() if responses}
    if any(cut.values()):
        yield Caveat(
            "How whole answers compare.",
            f"An answer that did not end by itself was cut, after {p.sample.decoding.max_tokens:,} tokens where we "
            f"decode, and judged as it stood: {_shares(cut)}.",
        )
    long = {name: sum(tokens > p.train.max_tokens for tokens in of) / len(of) for name, of in lengths.items()}
    if any(long.values()):
        yield Caveat(
            "What training on whole examples would give.",
            f"Those longer than {p.train.max_tokens:,} tokens were cut, and their end was never learnt: "
            f"{_shares(long)}.",
        )


def _unlike_data(p: Params, results: Results, lengths: Mapping[str, list[int]]) -> Iterator[Caveat]:
    for name, comparison in p.comparisons.items():
        pair = [p.contestants[who] for who in (comparison.contestant, comparison.rival)]
        arms = [contestant.arm for contestant in pair if isinstance(contestant, ArmContestant)]
        amounts = [f"{len(results.arms[arm].train):,} examples, {sum(lengths[arm]):,} tokens ({arm})" for arm in arms]
        if len({sum(lengths[arm]) for arm in arms}) > 1:
            yield Caveat(
                f"That the kind of data alone makes the difference in {name}.",
                f"The amounts differ as well: {' and '.join(amounts)}, prompts and responses together.",
            )


def _recorded(p: Params) -> Iterator[Caveat]:
    recorded = [name for name, contestant in p.contestants.items() if isinstance(contestant, RecordedContestant)]
    if recorded:
        yield Caveat(
            f"How {', '.join(recorded)} would answer again.",
            "Those answers were recorded elsewhere; how they were made is not known here.",
        )


def _shares(of: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.0f}\N{NO-BREAK SPACE}%" for name, share in of.items() if share)
