"""What may not be concluded from a run, worked out from its parameters and its numbers (LIMA §2, §4, §5)."""

import re
from collections.abc import Iterator, Mapping

from lima.analysis import paper
from lima.analysis.metrics import Preferences, ended
from lima.analysis.results import Results
from lima.params import (
    ArmContestant,
    FloorAnnotator,
    FolderModel,
    GgufModel,
    HubModel,
    Model,
    PackagedModel,
    Params,
    RandomModel,
    RecordedContestant,
)

RULES = {
    "longest": "prefers the longer answer",
    "random": "throws a coin",
    "always-tie": "never prefers any answer",
    "finished": "prefers the answer that ended by itself",
}


def caveats(p: Params, results: Results, measured: Preferences, lengths: Mapping[str, list[int]]) -> list[str]:
    """One sentence or two each, the gravest first; `lengths` gives each arm's training examples in tokens."""
    return [
        *_base(p),
        *_annotators(p, measured),
        *_size(p, results),
        *_sensitivity(p, measured),
        *_priors(results),
        *_luck(p),
        *_cut(p, results, lengths),
        *_unlike_data(p, results, lengths),
        *_recorded(p),
    ]


def described(name: str, model: Model) -> str:
    match model:
        case RandomModel():
            return f"{name}: {model.layers} layers of random weights"
        case HubModel():
            return f"{name}: {model.id} at {model.revision}"
        case PackagedModel():
            return f"{name}: {model.file} from the package {model.package}"
        case FolderModel() | GgufModel():
            return f"{name}: {model.path}"


def _base(p: Params) -> Iterator[str]:
    model = p.models[p.train.model]
    if isinstance(model, RandomModel):
        yield (
            "Nothing about quality. The base is a random model: it knows no language, so every figure below only shows "
            "that the graph runs from end to end."
        )
    elif re.search(r"instruct|chat|[-_]it\b", described("", model), re.IGNORECASE):
        yield (
            f"Nothing about superficial alignment. The base ({described(p.train.model, model)}) has been tuned on "
            "instructions before; the hypothesis is about a model that only knows its pretraining, and a gain over "
            "this base is not what alignment gives to one that had none."
        )


def _annotators(p: Params, measured: Preferences) -> Iterator[str]:
    used = list(dict.fromkeys(name for by_annotator in measured.values() for name in by_annotator))
    floors = {name: a.rule for name in used if isinstance(a := p.annotators[name], FloorAnnotator)}
    rules = ", ".join(f"{name} {RULES[rule]}" for name, rule in floors.items())
    if floors and len(floors) == len(used):
        yield (
            "That any contestant answers better than another. No person and no model has read the answers: all "
            f"annotators are floors, rules that a real annotator has to beat ({rules})."
        )
    elif floors:
        yield f"Quality from the rows of the floors. They are rules that a real annotator has to beat: {rules}."
    judge = p.annotators[p.select.annotator]
    if isinstance(judge, FloorAnnotator):
        yield (
            f"That the chosen epochs are the best. A rule chose them ({p.select.annotator} {RULES[judge.rule]}); in "
            "the paper people did, by reading."
        )


def _size(p: Params, results: Results) -> Iterator[str]:
    largest = max(len(arm.train) for arm in results.arms.values())
    ours = (largest, p.train.epochs, p.train.max_tokens, len(results.test))
    if ours != (paper.TRAINING_EXAMPLES, paper.EPOCHS, paper.MAX_TOKENS, paper.TEST_PROMPTS):
        yield (
            f"Anything about the size of the paper's effects. The profile {p.profile} trains on at most {largest:,} "
            f"examples of {p.train.max_tokens:,} tokens for {p.train.epochs} epochs and asks {len(results.test):,} "
            f"test prompts; the paper trained {paper.MODEL} on {paper.TRAINING_EXAMPLES:,} of {paper.MAX_TOKENS:,} for "
            f"{paper.EPOCHS} and asked {paper.TEST_PROMPTS}."
        )


def _sensitivity(p: Params, measured: Preferences) -> Iterator[str]:
    found = [
        (value.smallest, value.prompts)
        for of in measured.values()
        for value in of.values()
        if value.smallest is not None
    ]
    if found:
        finest, prompts = min(found)
        yield (
            f"That contestants are equal where no difference was found. With {prompts} prompts the finest of these "
            f"comparisons would most likely have missed a net preference below {100 * finest:.0f} points."
        )


def _priors(results: Results) -> Iterator[str]:
    trained = {example.provenance.source for arm in results.arms.values() for example in arm.train}
    shared = [prompt for prompt in results.test if prompt.provenance.source in trained]
    if shared:
        origins = sorted({f"{prompt.provenance.source}/{prompt.provenance.site}" for prompt in shared})
        yield (
            f"How the arms do on prompts of strangers. {len(shared)} of {len(results.test)} test prompts "
            f"({', '.join(origins)}) come from sources that were trained on too; the paper says the same of its "
            "groups A and B, who had contact before writing and so shared priors."
        )


def _luck(p: Params) -> Iterator[str]:
    samples = "one answer" if p.sample.samples == 1 else f"{p.sample.samples} answers"
    yield (
        f"That another run would say the same. Each arm was trained once, from one seed, and gave {samples} to each "
        "prompt; the intervals are about the choice of prompts and not about that luck."
    )


def _cut(p: Params, results: Results, lengths: Mapping[str, list[int]]) -> Iterator[str]:
    cut = {name: 1 - ended(responses) for name, responses in results.responses.items() if responses}
    broken = ", ".join(f"{name} {share:.0%}" for name, share in cut.items() if share)
    if broken:
        yield (
            f"How whole answers compare. Those that reached {p.sample.decoding.max_tokens:,} tokens were cut there, "
            f"and judged as they stand: {broken}."
        )
    long = {name: sum(tokens > p.train.max_tokens for tokens in of) / len(of) for name, of in lengths.items()}
    read = ", ".join(f"{name} {share:.0%}" for name, share in long.items() if share)
    if read:
        yield (
            f"What training on whole examples would give. Longer ones than {p.train.max_tokens:,} tokens were cut, so "
            f"that their end was never learnt: {read}."
        )


def _unlike_data(p: Params, results: Results, lengths: Mapping[str, list[int]]) -> Iterator[str]:
    for name, comparison in p.comparisons.items():
        pair = [p.contestants[who] for who in (comparison.contestant, comparison.rival)]
        arms = [contestant.arm for contestant in pair if isinstance(contestant, ArmContestant)]
        if len(arms) == 2 and len({sum(lengths[arm]) for arm in arms}) == 2:
            amounts = " and ".join(
                f"{len(results.arms[arm].train):,} examples, {sum(lengths[arm]):,} tokens" for arm in arms
            )
            yield (
                f"That the kind of data alone makes {name} differ. The amounts differ as well: {amounts} of prompts "
                "and responses."
            )


def _recorded(p: Params) -> Iterator[str]:
    recorded = [name for name, contestant in p.contestants.items() if isinstance(contestant, RecordedContestant)]
    if recorded:
        yield (
            f"How {', '.join(recorded)} would answer today. Those answers were recorded elsewhere; how they were made "
            "is not known here."
        )
