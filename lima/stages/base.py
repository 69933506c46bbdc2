"""Convert a pretrained model to a folder in Hugging Face format: `python -m lima.stages.base MODEL`."""

from lima import config, storage
from lima.errors import run_command
from lima.parallel import progress


@storage.alone("base")
def main(name: str) -> None:
    params = config.load()
    source = config.entry(params.models, "model", name)
    from lima.training import (
        base_model,
        library_output,
    )  # imported here, since loading torch and transformers takes seconds

    library_output.reduce()
    with storage.publish("base", name) as folder, progress.phase(f"{name}: convert the model"):
        parameters = base_model.write(source, folder, seed=params.base.seed)
    print(f"{name}: {parameters / 1e6:.1f} million parameters, from {source.kind}")


if __name__ == "__main__":
    run_command(main)
