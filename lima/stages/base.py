"""Turn a pretrained model, from wherever it is to be had, into a model folder: `python -m lima.stages.base MODEL`."""

from lima import config, storage
from lima.errors import run_command


@storage.alone("base")
def main(name: str) -> None:
    p = config.load()
    source = config.entry(p.models, "model", name)
    from lima.training import base_model  # torch and transformers: seconds, spent only once all is in place

    with storage.publish("base", name) as folder:
        parameters = base_model.write(source, folder, seed=p.base.seed)
    print(f"{name}: {parameters / 1e6:.1f} million parameters, from {source.kind}")


if __name__ == "__main__":
    run_command(main)
