"""Turn a pretrained model, from wherever it is to be had, into a model folder: `python -m lima.stages.base MODEL`."""

from lima import params, paths
from lima.errors import command


@paths.alone("base")
def main(name: str) -> None:
    p = params.load()
    source = params.entry(p.models, "model", name)
    from lima.training import base  # torch and transformers: seconds, spent only once all is in place

    with paths.publish("base", name) as folder:
        parameters = base.write(source, folder, seed=p.base.seed)
    print(f"{name}: {parameters / 1e6:.1f} million parameters, from {source.kind}")


if __name__ == "__main__":
    command(main)
