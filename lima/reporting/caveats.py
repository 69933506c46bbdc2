"""Caveats: conclusions that a run does not support, derived from its parameters and results (LIMA §2, §4, §5)."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lima.chat_types import counts
from lima.config import Params
from lima.config.entries import ArmContestant, BaselineAnnotator, RandomModel, RecordedContestant
from lima.evaluation.statistics import USABLE, Preference
from lima.reporting import paper
from lima.reporting.metrics import Preferences, ended
from lima.reporting.results import Results

RULES = {
    "longest": "prefers the longer answer",
    "random": "chooses at random",
    "always-tie": "never prefers any answer",
    "finished": "prefers the complete answer",
}


class Caveat(NamedTuple):
    claim: str  # the unsupported conclusion
    why: str


def caveats(p: Params, results: Results, measured: Preferences, lengths: Mapping[str, list[int]]) -> list[Caveat]:
    """Return the caveats, the most important first.

    Args:
        lengths: by arm, tokens of each training example.
    """
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
            "The base model has random weights. The results only show that the pipeline runs end to end.",
        )
    elif re.search(r"instruct|chat|[-_]it\b", str(model), re.IGNORECASE):
        yield Caveat(
            "Anything about superficial alignment.",
            f"The base model ({p.train.model}: {model}) is already instruction-tuned. The hypothesis is about a model "
            "that is only pretrained, so the gain of an arm is not the effect of alignment.",
        )


def _annotators(p: Params, measured: Preferences) -> Iterator[Caveat]:
    used = list(dict.fromkeys(name for by_annotator in measured.values() for name in by_annotator))
    rules_of = p.baselines()
    baselines = {name: rules_of[name] for name in used if name in rules_of}
    rules = ", ".join(f"{name} {RULES[rule]}" for name, rule in baselines.items())
    if baselines and len(baselines) == len(used):
        yield Caveat(
            "That any contestant answers better than another.",
            f"No person and no model has read the answers. All annotators are baseline rules ({rules}).",
        )
    elif baselines:
        yield Caveat("Anything from the baselines.", f"They are rules that measure form, not quality: {rules}.")


def _unusable(measured: Preferences) -> Iterator[Caveat]:
    """Caveats for each annotator with unusable verdicts."""
    for annotator in dict.fromkeys(name for by_annotator in measured.values() for name in by_annotator):
        values = {name: by[annotator] for name, by in measured.items() if annotator in by}
        unusable = [name for name, value in values.items() if not value.usable]
        if unusable:
            yield Caveat(
                f"Anything from {annotator} about {', '.join(unusable)}.",
                "It has no usable verdicts there, which is not the same as a tie: "
                f"{'; '.join(_without_verdict(name, values[name]) for name in unusable)}.",
            )
        partly = [name for name, value in values.items() if 0 < value.usable < value.n]
        if partly:
            yield Caveat(
                f"That {annotator} is consistent.",
                "Some of its verdicts are not usable and count for neither side: "
                f"{'; '.join(_without_verdict(name, values[name]) for name in partly)}.",
            )


def _without_verdict(comparison: str, value: Preference) -> str:
    shares = {str(outcome): share for outcome, share in value.shares.items() if outcome not in USABLE}
    return f"{_shares(shares)} of {value.n:,} in {comparison}"


def _epochs(p: Params) -> Iterator[Caveat]:
    judge = p.select.annotator
    if isinstance(judge, BaselineAnnotator):
        yield Caveat(
            "That the selected epochs are the best.",
            f"A baseline rule selected them: {judge.rule} {RULES[judge.rule]}. In the paper, people read the answers.",
        )


def _uncompared(p: Params) -> Iterator[Caveat]:
    for arm, warning in p.uncompared_arms().items():
        yield Caveat(f"How {arm} compares with any other contestant.", f"{warning[0].upper()}{warning[1:]}.")


def _adapters(p: Params) -> Iterator[Caveat]:
    small = [name for name, arm in p.arms.items() if arm.lora]
    if small:
        yield Caveat(
            f"That {', '.join(small)} follow{'s' if len(small) == 1 else ''} the paper's recipe.",
            "LoRA trains small matrices and freezes the other weights; the paper trains all weights.",
        )


def _size(p: Params, results: Results) -> Iterator[Caveat]:
    largest = max(len(arm.train) for arm in results.arms.values())
    scale = (largest, p.train.epochs, p.train.max_tokens, len(results.test))
    if scale != (paper.TRAINING_EXAMPLES, paper.EPOCHS, paper.MAX_TOKENS, paper.TEST_PROMPTS):
        yield Caveat(
            "The size of the effects in the paper.",
            f"The profile {p.profile} trains on up to {largest:,} examples of at most {p.train.max_tokens:,} tokens "
            f"for {p.train.epochs} epochs and has {len(results.test):,} test prompts; the paper trained {paper.MODEL} "
            f"on {paper.TRAINING_EXAMPLES:,} examples of at most {paper.MAX_TOKENS:,} tokens for {paper.EPOCHS} epochs "
            f"and had {paper.TEST_PROMPTS} test prompts.",
        )


def _sensitivity(measured: Preferences) -> Iterator[Caveat]:
    detectable = [
        (value.smallest, value.prompts)
        for by_annotator in measured.values()
        for value in by_annotator.values()
        if value.smallest is not None
    ]
    if detectable:
        finest, prompts = min(detectable)
        undetected = f"below {100 * finest:.0f} points" if finest <= 1 else "of any size"
        yield Caveat(
            "That contestants are equal if no difference is significant.",
            f"With {prompts} prompts, even the most sensitive comparison is likely to miss a net preference "
            f"{undetected}.",
        )


def _priors(results: Results) -> Iterator[Caveat]:
    trained = {example.provenance.source for arm in results.arms.values() for example in arm.train}
    shared = [prompt for prompt in results.test if prompt.provenance.source in trained]
    if shared:
        origins = sorted({f"{prompt.provenance.source}/{prompt.provenance.site}" for prompt in shared})
        yield Caveat(
            "The quality on prompts from other authors.",
            f"{len(shared)} of {len(results.test)} test prompts ({', '.join(origins)}) come from sources that are also "
            "in the training data. The paper has the same caveat: its groups A and B were in contact before writing.",
        )


def _luck(p: Params) -> Iterator[Caveat]:
    answers = "one answer" if p.sample.samples == 1 else f"{p.sample.samples} answers"
    single = [arm for arm in p.arms if len(p.repetitions(arm)) == 1]
    trained = "Each arm was trained once, with one seed"
    if len(single) < len(p.arms):
        trained = f"One seed only: {', '.join(single)}" if single else "Each recipe was trained with several seeds"
    both = "" if len(single) == len(p.arms) else "; those of the ablations cover both where a recipe has several seeds"
    yield Caveat(
        "That another run would have the same results.",
        f"{trained}. Each contestant has {answers} to each prompt. The intervals on this page cover the choice of "
        f"prompts, not the variation between runs{both}.",
    )


def _unanswered(results: Results) -> Iterator[Caveat]:
    failures = {
        name: Counter(failure.reason for failure in entries) for name, entries in results.unanswered.items() if entries
    }
    if failures:
        counted = "; ".join(
            f"{name}: {reasons.total():,} without an answer ({counts(reasons)})" for name, reasons in failures.items()
        )
        yield Caveat(
            f"How {', '.join(failures)} would have answered every prompt.",
            f"Prompts without an answer are not compared and not included in any number below: {counted}.",
        )


def _cut(p: Params, results: Results, lengths: Mapping[str, list[int]]) -> Iterator[Caveat]:
    cut = {name: 1 - ended(responses) for name, responses in results.responses.items() if responses}
    if any(cut.values()):
        yield Caveat(
            "How complete answers compare.",
            f"Some answers are truncated (at {p.sample.decoding.max_tokens:,} tokens if sampled here) and were judged "
            f"as they are: {_shares(cut)}.",
        )
    long = {name: sum(n > p.train.max_tokens for n in tokens) / len(tokens) for name, tokens in lengths.items()}
    if any(long.values()):
        yield Caveat(
            "The effect of training on complete examples.",
            f"Examples longer than {p.train.max_tokens:,} tokens are truncated in training: {_shares(long)}.",
        )


def _unlike_data(p: Params, results: Results, lengths: Mapping[str, list[int]]) -> Iterator[Caveat]:
    for name, evaluation in p.evaluations.items():
        if evaluation.task != "pairwise":
            continue
        pair = [p.contestants[who] for who in (evaluation.contestant, evaluation.rival)]
        arms = [contestant.arm for contestant in pair if isinstance(contestant, ArmContestant)]
        amounts = [f"{len(results.arms[arm].train):,} examples, {sum(lengths[arm]):,} tokens ({arm})" for arm in arms]
        if len({sum(lengths[arm]) for arm in arms}) > 1:
            yield Caveat(
                f"That only the kind of data makes the difference in {name}.",
                f"The amounts of data also differ: {' and '.join(amounts)}, prompts and responses together.",
            )
        sources = {arm: sorted({example.provenance.source for example in results.arms[arm].train}) for arm in arms}
        if len({p.arms[arm].pool for arm in arms}) > 1 and len(set(map(tuple, sources.values()))) > 1:
            listed = [f"{arm} has {', '.join(names)}" for arm, names in sources.items()]
            yield Caveat(
                f"That filtering makes the difference in {name}.", f"The sources also differ: {'; '.join(listed)}."
            )


def _recorded(p: Params) -> Iterator[Caveat]:
    recorded = [name for name, contestant in p.contestants.items() if isinstance(contestant, RecordedContestant)]
    if recorded:
        yield Caveat(
            f"How {', '.join(recorded)} would answer again.",
            "These answers were recorded elsewhere; how they were produced is unknown.",
        )


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.0f}\N{NO-BREAK SPACE}%" for name, share in shares.items() if share)
