"""Select disjoint dev and test prompts, with a number per source and site (LIMA §2.2)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lima.curation import hashing
from lima.curation.sampling import TooFewExamples
from lima.errors import LimaError
from lima.records import Prompt, is_script
from lima.text import normalize


class SharedPrompt(LimaError):
    """A prompt occurs in both dev and test; the message names it."""


class WrongKind(LimaError):
    """A scripted dialogue is drawn as a prompt, or a prompt as a scripted dialogue."""


def draw(
    offered: Iterable[Prompt], group: str, count: int, *, seed: int, selected: Sequence[Prompt] = ()
) -> list[Prompt]:
    """Draw `count` random prompts of a group without replacement, independent of the order of `offered`.

    Args:
        offered: Prompts of the group's source.
        group: "SOURCE/SITE" or "SOURCE/SITE/TAG"; the tag "form" matches form and kind:form.
        count: Number of prompts.
        seed: Seed of the hash-based order.
        selected: Prompts drawn earlier; prompts with the same text are excluded.

    Raises:
        TooFewExamples: The group has fewer than `count` distinct prompts.
    """
    source, site, *tags = group.split("/", 2)
    members = [
        prompt
        for prompt in offered
        if prompt.provenance.site == site and set(tags) <= {tag.rpartition(":")[2] for tag in prompt.tags}
    ]
    shuffled = sorted(members, key=lambda prompt: (hashing.hash_uniform(seed, prompt.id), prompt.id))
    distinct = {normalize.comparison_key(prompt): prompt for prompt in reversed(shuffled)}
    for prompt in selected:
        distinct.pop(normalize.comparison_key(prompt), None)
    if count > len(distinct):
        tag = f", tag {tags[0]}" if tags else ""
        raise TooFewExamples(
            f"{count} prompts requested of source {source}, site {site}{tag}, {len(distinct)} available; request fewer "
            f"under prompts in params.yaml, or add prompts to the source"
        )
    return list(distinct.values())[::-1][:count]


def count_per_site(counts: Mapping[str, int]) -> dict[str, int]:
    """Number of prompts per "SOURCE/SITE", summed over the groups' tags."""
    sites: Counter[str] = Counter()
    for group, count in counts.items():
        sites["/".join(group.split("/", 2)[:2])] += count
    return dict(sites)


def check_disjoint(dev: Sequence[Prompt], test: Sequence[Prompt]) -> None:
    """Raises SharedPrompt if a prompt is in both, by its id or by its text."""
    for name, shared in (
        ("id", {prompt.id for prompt in dev} & {prompt.id for prompt in test}),
        ("text", _texts(dev).keys() & _texts(test).keys()),
    ):
        if shared:
            first = min(shared)
            pair = first if name == "id" else f"{_texts(dev)[first]} and {_texts(test)[first]}: {first[:80]!r}"
            raise SharedPrompt(
                f"dev and test share {len(shared)} prompt(s) by {name}, first {pair}; use other sites under prompts in "
                f"params.yaml, or delete one of the two (a prompt that selects the checkpoint cannot test it)"
            )


def check_kinds(prompts: Mapping[str, Sequence[Prompt]], dialogues: Sequence[Prompt]) -> None:
    """Check that scripted dialogues are exactly in the set `dialogues`.

    Args:
        prompts: the other sets by name.

    Raises:
        WrongKind: the message names the prompt.
    """
    for name, rows in prompts.items():
        for row in rows:
            if is_script(row):
                raise WrongKind(
                    f"prompts.{name} draws the scripted dialogue {row.id}; draw scripts under prompts.dialogues, and "
                    "leave their tag out of the other sets in params.yaml"
                )
    for row in dialogues:
        if not is_script(row):
            raise WrongKind(
                f"prompts.dialogues draws {row.id}, which is not a scripted dialogue; use a group with the tag script, "
                "such as dialogues/B/script"
            )


def _texts(prompts: Sequence[Prompt]) -> Mapping[str, str]:
    return {normalize.comparison_key(prompt): prompt.id for prompt in prompts}
