"""Conclusions: one sentence for each pairwise evaluation that claims no more than its figures support (LIMA §4).

People are the first authority, then usable models in the order of the panel. Baselines support no conclusion.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lima.config import Params
from lima.config.entries import ArmContestant, BaseContestant, RandomModel
from lima.evaluation.statistics import Preference
from lima.reporting import paper
from lima.reporting.measures import Evaluations, Measured
from lima.reporting.response_form import ResponseForm

NARROW = "\N{NO-BREAK SPACE}"
MOSTLY = 0.5  # share of answers without content above which a contestant cannot be compared


@dataclass(frozen=True)
class Conclusion:
    evaluation: str
    verdict: str  # the claim in words: one side is preferred, no difference was shown, or no conclusion
    figures: str  # net, interval, shares, n, p
    limits: tuple[str, ...]  # sentences that limit the claim
    paper: str  # the paper's figure; "" if there is none
    annotator: str | None  # whose judgments it rests on

    @property
    def is_open(self) -> bool:
        """Whether no conclusion is drawn."""
        return self.annotator is None


def conclusions(
    p: Params,
    evaluations: Evaluations,
    adjusted: Mapping[tuple[str, str], float],
    forms: Mapping[str, ResponseForm],
) -> list[Conclusion]:
    """Return one conclusion for each pairwise evaluation, in the order of params.yaml.

    Args:
        adjusted: Holm-adjusted p-values by evaluation and annotator.
        forms: form of the responses, by contestant.
    """
    return [
        _conclusion(p, name, list(by_annotator.values()), adjusted, forms)
        for name, by_annotator in evaluations.items()
        if p.evaluations[name].task == "pairwise"
    ]


def authorities(measured: Sequence[Measured]) -> list[Measured]:
    """Annotators that a conclusion may rest on: people first, then usable models."""
    usable = [m for m in measured if m.is_authority and m.preference is not None and m.preference.net is not None]
    return sorted(usable, key=lambda m: m.kind != "people")


def _conclusion(
    p: Params,
    name: str,
    measured: Sequence[Measured],
    adjusted: Mapping[tuple[str, str], float],
    forms: Mapping[str, ResponseForm],
) -> Conclusion:
    evaluation = p.evaluations[name]
    sides = (evaluation.contestant, evaluation.rival)
    found = authorities(measured)
    reason = _no_authority(p, measured) if not found else _nothing_to_judge(p, sides, forms)
    if not reason and (opposed := _opposed(found, adjusted, p)):
        reason = opposed
    figures = _figures(found[0], adjusted, p) if found else ""
    published = _paper(p, sides)
    if reason:
        verdict = f"No conclusion about {sides[0]} and {sides[1]}: {reason}."
        return Conclusion(name, verdict, figures and f"{found[0].annotator}: {figures}", (), published, None)
    first = found[0]
    side = _preferred(first, adjusted, p)
    who = _who(first)
    if side:
        better, worse = sides if side > 0 else sides[::-1]
        verdict = f"{who} {'prefer' if who == 'People' else 'prefers'} {better} to {worse}."
    else:
        verdict = f"{who} showed no clear preference between {sides[0]} and {sides[1]}."
    return Conclusion(
        name,
        verdict,
        figures,
        (*_without_content(sides, forms), *_limits(found, adjusted, p, measured)),
        published,
        first.annotator,
    )


def _who(measured: Measured) -> str:
    if measured.kind == "people":
        return "One person" if measured.persons == 1 else "People"
    return f"The {'recorded' if measured.kind == 'recorded' else 'model'} judge {measured.annotator}"


def _no_authority(p: Params, measured: Sequence[Measured]) -> str:
    unusable = [m for m in measured if m.kind != "baseline" and m.judgments and not m.is_authority]
    if not unusable:
        return "no person and no model has judged the answers; the annotators are baseline rules, which measure form"
    by_reason: dict[str, list[str]] = {}
    for m in unusable:
        by_reason.setdefault(_first_reason(p, m), []).append(m.annotator)
    named = "; ".join(
        f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} unusable ({reason})"
        for reason, names in by_reason.items()
    )
    return named if any(m.kind == "people" for m in unusable) else f"no person has judged the answers, and {named}"


def _first_reason(p: Params, measured: Measured) -> str:
    """The failed kinds of canaries if there are any, else the first reason; the section Reliability has all."""
    results = measured.reliability.canaries if measured.reliability else ()
    bound = p.report.usability.max_failed_canaries
    kinds = [row.kind for row in results if row.failed_share is not None and row.failed_share > bound]
    return f"failed canaries: {', '.join(kinds)}" if kinds else measured.usability.reasons[0]


def _nothing_to_judge(p: Params, sides: Sequence[str], forms: Mapping[str, ResponseForm]) -> str:
    empty = [name for name in sides if name in forms and forms[name].without_content.value > MOSTLY]
    if len(empty) == 2:
        shares = " and ".join(f"{100 * forms[name].without_content.value:.0f}{NARROW}% of {name}'s" for name in empty)
        return f"{shares} answers have no content (empty, repetition or not language)"
    random = [name for name in sides if is_random(p, name)]
    if random:
        return f"{' and '.join(random)} come{'s' if len(random) == 1 else ''} from a base model with random weights"
    return ""


def _without_content(sides: Sequence[str], forms: Mapping[str, ResponseForm]) -> Iterator[str]:
    """A sentence about each side whose answers mostly have no content: the preference then shows little else."""
    for name in sides:
        if name in forms and forms[name].without_content.value > MOSTLY:
            share = f"{100 * forms[name].without_content.value:.0f}{NARROW}%"
            yield f"{share} of {name}'s answers have no content (empty, repetition or not language)."


def is_random(p: Params, contestant: str) -> bool:
    """Whether a contestant is, or is trained from, a model with random weights."""
    match p.contestants[contestant]:
        case BaseContestant(model=model):
            return isinstance(p.models[model], RandomModel)
        case ArmContestant():
            return isinstance(p.models[p.train.model], RandomModel)
    return False


def _opposed(found: Sequence[Measured], adjusted: Mapping[tuple[str, str], float], p: Params) -> str:
    """Two models that significantly prefer different sides, without people to decide."""
    if found[0].kind == "people":
        return ""
    signs = {m.annotator: _preferred(m, adjusted, p) for m in found}
    if {1, -1} <= set(signs.values()):
        evaluation = p.evaluations[found[0].evaluation]
        by_side = [
            f"{' and '.join(name for name, sign in signs.items() if sign == side)} {contestant}"
            for side, contestant in ((1, evaluation.contestant), (-1, evaluation.rival))
        ]
        return f"the model judges contradict each other, with preferences for different sides ({', '.join(by_side)})"
    return ""


def _preferred(measured: Measured, adjusted: Mapping[tuple[str, str], float], p: Params) -> int:
    """1 if the contestant is preferred, −1 if the rival is, 0 if neither is shown: the interval and p must agree."""
    value = measured.preference
    if value is None or value.net is None or value.interval is None:
        return 0
    p_value = adjusted.get((measured.evaluation, measured.annotator), 1.0)
    if p_value >= 1 - p.report.confidence or value.interval.low <= 0 <= value.interval.high:
        return 0
    return 1 if value.net > 0 else -1


def _figures(measured: Measured, adjusted: Mapping[tuple[str, str], float], p: Params) -> str:
    value = measured.preference
    if value is None or value.net is None or value.interval is None:
        return ""
    shares = " / ".join(f"{100 * value.shares[name]:.0f}" for name in ("win", "tie", "lose"))
    number = f"{value.prompts:,} prompts"
    if value.n != value.prompts:
        number = f"{value.n:,} judgments of {number}"
    if measured.persons > 1:
        number += f", {measured.persons} people"
    p_value = adjusted[measured.evaluation, measured.annotator]
    shown = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    return (
        f"win / tie / lose {shares}{NARROW}%, net preference for {p.evaluations[measured.evaluation].contestant} "
        f"{_points(value.net)} points, {100 * p.report.confidence:g}{NARROW}% interval "
        f"[{_points(value.interval.low)}, {_points(value.interval.high)}], {shown} after Holm's correction, "
        f"n = {number}."
    )


def _limits(
    found: Sequence[Measured],
    adjusted: Mapping[tuple[str, str], float],
    p: Params,
    measured: Sequence[Measured],
) -> list[str]:
    first, sentences = found[0], []
    value = first.preference
    side = _preferred(first, adjusted, p)
    if not side and value is not None:
        sentences.append(_undetected(value))
    if first.kind != "people":
        agreement = first.reliability.people if first.reliability else None
        checked = (
            f"; it agrees with people on {100 * agreement.value:.0f}{NARROW}%" if agreement and agreement.value else ""
        )
        sentences.append(f"No usable judgment by people supports this{checked}.")
    for other in found[1:]:
        sign = _preferred(other, adjusted, p)
        if sign != side:
            sentences.append(f"{_who(other)} differs: {_stated(other, sign, p)}.")
    if value is not None and value.usable < value.n:
        sentences.append(
            f"{value.n - value.usable:,} of {value.n:,} judgments have no value and count for neither side."
        )
    unusable = [
        m.annotator for m in measured if m.kind in ("endpoint", "recorded") and m.judgments and not m.is_authority
    ]
    if unusable:
        sentences.append(f"Not used, because unusable: {', '.join(unusable)}.")
    return sentences


def _undetected(value: Preference) -> str:
    if value.smallest is None:
        return "All usable judgments are ties; this does not show that the answers are equal."
    if value.smallest > 1:
        return "With so few prompts, not even a unanimous result would be detected."
    return f"A difference below {100 * value.smallest:.0f} points would probably be missed, so equality is not shown."


def _stated(measured: Measured, sign: int, p: Params) -> str:
    evaluation = p.evaluations[measured.evaluation]
    net = measured.preference.net if measured.preference else None
    shown = f" (net {_points(net)})" if net is not None else ""
    if not sign:
        return f"no clear preference{shown}"
    return f"it prefers {evaluation.contestant if sign > 0 else evaluation.rival}{shown}"


def _paper(p: Params, sides: tuple[str, str]) -> str:
    """The paper's result of LIMA against a rival, if an arm is compared with a contestant of this name."""
    contestant, rival = sides
    for arm, other in ((contestant, rival), (rival, contestant)):
        published = paper.preference_against(other)
        if published and isinstance(p.contestants[arm], ArmContestant):
            people, gpt4 = (" / ".join(map(str, shares)) for shares in (published.people, published.gpt4))
            net = published.people[0] - published.people[2]
            return (
                f"In the paper, LIMA against {published.rival}: win / tie / lose {people}{NARROW}% by people "
                f"(net {_points(net / 100)}), {gpt4}{NARROW}% by GPT-4; other models and other prompts than here."
            )
    return ""


def _points(share: float) -> str:
    shown = f"{100 * share:+.1f}"
    return "0.0" if float(shown) == 0 else shown.replace("-", "−")
