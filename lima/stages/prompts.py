"""Draw the dev and test prompts from what the filters left to ask (LIMA §2.2): `python -m lima.stages.prompts`."""

from collections.abc import Mapping

from lima import jsonl, params, paths
from lima.curation import drawing
from lima.errors import command
from lima.records import Prompt


def drawn(counts: Mapping[str, int], *, seed: int) -> list[Prompt]:
    prompts: list[Prompt] = []
    for group, count in counts.items():
        source = group.split("/", 1)[0]
        offered = jsonl.read(paths.result("filter", source) / "prompts.jsonl", Prompt)
        prompts += drawing.draw(offered, group, count, seed=seed)
    return prompts


def main() -> None:
    p = params.load().prompts
    dev, test = drawn(p.dev, seed=p.seed), drawn(p.test, seed=p.seed)
    drawing.check_disjoint(dev, test)
    with paths.publish("prompts") as folder:
        jsonl.write(folder / "dev.jsonl", dev)
        jsonl.write(folder / "test.jsonl", test)
    print(f"prompts: {len(dev)} dev, {len(test)} test")


if __name__ == "__main__":
    command(main)
