"""The dev and test prompts: so many of each source and site, and none in both (LIMA §2.2)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lima.curation import hashing
from lima.curation.sampling import TooFewExamples
from lima.errors import LimaError
from lima.records import Prompt
from lima.text import normalize


class SharedPrompt(LimaError):
    """A prompt that is in dev and test; says which."""


def draw(offered: Iterable[Prompt], group: str, count: int, *, seed: int, taken: Sequence[Prompt] = ()) -> list[Prompt]:
    """`count` prompts of the group "SOURCE/SITE" or "SOURCE/SITE/TAG" by chance, none twice, none with the text of one
    that is `taken`; the same in whatever order they come. "form" names the tag form, and kind:form as well."""
    source, site, *wanted = group.split("/", 2)
    of_group = [
        prompt
        for prompt in offered
        if prompt.provenance.site == site and set(wanted) <= {tag.rpartition(":")[2] for tag in prompt.tags}
    ]
    shuffled = sorted(of_group, key=lambda prompt: (hashing.hash_uniform(seed, prompt.id), prompt.id))
    distinct = {normalize.comparison_key(prompt): prompt for prompt in reversed(shuffled)}
    for prompt in taken:
        distinct.pop(normalize.comparison_key(prompt), None)
    if count > len(distinct):
        tagged = f", tag {wanted[0]}" if wanted else ""
        raise TooFewExamples(
            f"{count} prompts wanted of source {source}, site {site}{tagged}, {len(distinct)} there that are not drawn "
            f"yet; ask for fewer in params.yaml's prompts, or give the source more"
        )
    return list(distinct.values())[::-1][:count]


def of_each_site(counts: Mapping[str, int]) -> dict[str, int]:
    """What groups come to, "SOURCE/SITE" → prompts, whatever tags they ask for."""
    sites: Counter[str] = Counter()
    for group, count in counts.items():
        sites["/".join(group.split("/", 2)[:2])] += count
    return dict(sites)


def check_disjoint(dev: Sequence[Prompt], test: Sequence[Prompt]) -> None:
    """Raises Shared if a prompt is in both, by its id or by its text."""
    for name, shared in (
        ("id", {prompt.id for prompt in dev} & {prompt.id for prompt in test}),
        ("text", _texts(dev).keys() & _texts(test).keys()),
    ):
        if shared:
            first = min(shared)
            pair = first if name == "id" else f"{_texts(dev)[first]} and {_texts(test)[first]}: {first[:80]!r}"
            raise SharedPrompt(
                f"dev and test share {len(shared)} prompt(s) by {name}, first {pair}; a prompt that chose the "
                f"checkpoint cannot test it: name other sites in params.yaml's prompts, or drop one of the two"
            )


def _texts(prompts: Sequence[Prompt]) -> Mapping[str, str]:
    return {normalize.comparison_key(prompt): prompt.id for prompt in prompts}
