"""Export of an arm as a Hugging Face model folder and dataset folder, each with a card, and its server command."""

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from lima import config, jsonl, mlflow_runs, storage
from lima.config import Params
from lima.config.entries import FolderModel, GemmaModel, HubModel, Model, PackagedModel, RandomModel
from lima.display import visible_line
from lima.errors import LimaError
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.jsonl import JsonObject
from lima.mlflow_runs import TrainingRun
from lima.records import Example
from lima.reporting.results import contestants_of

WEIGHTS = "model.safetensors"
HUB_LICENSES = {  # license of a source → its identifier on the Hugging Face hub
    "MIT": "mit",
    "Apache-2.0": "apache-2.0",
    "CC0 1.0": "cc0-1.0",
    "CC BY 4.0": "cc-by-4.0",
    "CC BY-SA 3.0": "cc-by-sa-3.0",
    "CC BY-SA 4.0": "cc-by-sa-4.0",
    "CC BY-NC 4.0": "cc-by-nc-4.0",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
}
OTHER = "other"


class ExportError(LimaError):
    """The arm is not finished, its files have changed, or the output folder is not empty."""


class NoServer(LimaError):
    """No program that serves a model is installed."""


@dataclass(frozen=True)
class Exported:
    """What the cards describe."""

    params: Params
    arm: str
    chosen: SelectedCheckpoint
    run: TrainingRun
    train: Sequence[Example]
    held_out: Sequence[Example]
    base_license: str
    figures: JsonObject  # of metrics.json; empty without a report


def export(params: Params, arm: str, out: Path, *, base_license: str | None) -> str:
    """Write OUT/model and OUT/dataset; return a description.

    Args:
        params: all parameters.
        arm: an arm whose checkpoint is selected.
        out: a new or empty folder.
        base_license: license of the base model; None: as stated by the model's package, folder or cached hub card.

    Raises:
        ExportError: the arm is not finished, the license is unknown, or the folder is not empty.
    """
    config.entry(params.arms, "arm", arm)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"output folder is not empty: {out}; remove it or choose another --out")
    checkpoint = selected(arm)
    source = params.models[params.train.model]
    license = base_license or stated_license(source)
    if not license:
        raise ExportError(
            f"unknown license of the base model {params.train.model} ({source}); state it with --base-license"
        )
    mixed, figures = storage.result_dir("mix", arm), storage.REPORTS / "metrics.json"
    exported = Exported(
        params=params,
        arm=arm,
        chosen=checkpoint,
        run=mlflow_runs.read(storage.result_dir("train", arm)),
        train=list(jsonl.read(mixed / "train.jsonl", Example)),
        held_out=list(jsonl.read(mixed / "held_out.jsonl", Example)),
        base_license=license,
        figures=json.loads(figures.read_text(encoding="utf-8")) if figures.exists() else {},
    )
    out.mkdir(parents=True, exist_ok=True)
    with storage.report_disk_full(out):
        # without file modes: DVC's cache is read-only
        shutil.copytree(checkpoint.checkpoint, out / "model", copy_function=shutil.copyfile)
        (out / "model" / "README.md").write_text(model_card(exported), encoding="utf-8")
        (out / "dataset").mkdir()
        for name in ("train.jsonl", "held_out.jsonl", "attribution.csv"):
            shutil.copyfile(mixed / name, out / "dataset" / name)
        (out / "dataset" / "README.md").write_text(dataset_card(exported), encoding="utf-8")
    return (
        f"{out}/model: epoch {checkpoint.epoch} of {arm}; {out}/dataset: {len(exported.train)} training and "
        f"{len(exported.held_out)} held-out examples\n"
        f"try it: transformers chat {out}/model; upload: hf upload NAMESPACE/NAME {out}/model"
    )


def write_gguf(out: Path, converter: Path) -> str:
    """Write OUT/model.gguf from OUT/model with llama.cpp's converter, `convert_hf_to_gguf.py`; return a description.

    Raises:
        ExportError: the converter does not exist, or it fails.
    """
    if not converter.is_file():
        raise ExportError(f"converter not found: {converter}; it is convert_hf_to_gguf.py of a clone of llama.cpp")
    file = out / "model.gguf"
    command = [sys.executable, str(converter.resolve()), str(out / "model"), "--outfile", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the user's program
    if done.returncode or not file.exists():
        last = visible_line((done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2])
        raise ExportError(f"conversion of {out / 'model'} failed: {last}; run it by hand: {' '.join(command)}")
    return f"{file}: {file.stat().st_size / 2**20:,.0f} MiB; try it: llama-cli -m {file}"


def selected(arm: str) -> SelectedCheckpoint:
    """Return the selected checkpoint of an arm, after comparing its weights with the recorded digest.

    Raises:
        ExportError: nothing is selected, or the weights have changed.
    """
    path = storage.result_dir("select", arm) / "chosen.json"
    if not path.exists():
        raise ExportError(f"no checkpoint of arm {arm} is selected: {path} not found; run `dvc repro select@{arm}`")
    [chosen] = jsonl.read(path, SelectedCheckpoint)
    weights = Path(chosen.checkpoint) / WEIGHTS
    if not weights.exists():
        raise ExportError(f"weights not found: {weights}; run `dvc repro train@{arm}`")
    with weights.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != chosen.digest:
        raise ExportError(f"weights have changed since select: {weights}; run `dvc repro select@{arm}`")
    return chosen


def stated_license(source: Model) -> str | None:
    """License that the base model's package or folder states; None if it states none."""
    match source:
        case GemmaModel():
            return "Gemma Terms of Use (https://ai.google.dev/gemma/terms)"
        case PackagedModel(package=package):
            try:
                about = importlib.metadata.metadata(package.replace("_", "-")).json
            except importlib.metadata.PackageNotFoundError:
                return None
            license = about.get("license_expression") or about.get("license")
            return str(license) if license else None
        case FolderModel(path=path):
            return _card_license(Path(path) / "README.md")
        case RandomModel():
            return "none (random weights)"
    return None


def _card_license(card: Path) -> str | None:
    """The license in the front matter of a model card."""
    if not card.exists():
        return None
    _, marker, rest = card.read_text(encoding="utf-8").partition("---\n")
    front, end, _ = rest.partition("\n---")
    values = YAML(typ="safe").load(front) if marker and end else None
    return str(values["license"]) if isinstance(values, dict) and values.get("license") else None


def model_card(exported: Exported) -> str:
    """The README.md of the model folder, with metadata that the hub reads."""
    p, arm, run = exported.params, exported.arm, exported.run
    source = p.models[p.train.model]
    front = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "language": p.filter.language.wanted,
        "license": OTHER,
        "license_name": "base-model-and-training-data",
        "license_link": "README.md#licenses",
        "tags": ["lima", "conversational"],
        **({"base_model": source.id} if isinstance(source, HubModel) else {}),
    }
    sampling = json.loads((Path(exported.chosen.checkpoint) / "generation_config.json").read_text(encoding="utf-8"))
    shown = ("do_sample", "temperature", "top_p", "repetition_penalty", "max_new_tokens", "eos_token_id")
    return _card(
        front,
        f"# {arm}",
        f"{run.parameters['model']}, fine-tuned on {len(exported.train)} examples with the recipe of "
        '["LIMA: Less Is More for Alignment"](https://arxiv.org/abs/2305.11206). '
        f"Epoch {exported.chosen.epoch} was selected: {exported.chosen.why}.",
        "## Use",
        "```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n'
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")\n'
        'turns = [{"role": "user", "content": "How do I plan a garden?"}]\n'
        'ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**ids)[0]))\n"
        "```",
        "Sampling settings, in generation_config.json:",
        _table(("setting", "value"), [(key, sampling[key]) for key in shown if key in sampling]),
        "## Training data",
        _sources(exported.train),
        "## Recipe",
        _table(("parameter", "value"), sorted(run.parameters.items())),
        "## Evaluation",
        _evaluations(exported),
        "## Licenses",
        f"Base model: {exported.base_license}. Training data: "
        + "; ".join(f"{license}, {count} examples" for license, count in _licenses(exported.train).items())
        + ". The attribution of every example is in attribution.csv of the dataset.",
    )


def dataset_card(exported: Exported) -> str:
    """The README.md of the dataset folder, with metadata that the hub reads."""
    rows = [*exported.train, *exported.held_out]
    splits = {"train": "train.jsonl", "held_out": "held_out.jsonl"}
    front = {
        "language": exported.params.filter.language.wanted,
        "license": sorted({HUB_LICENSES.get(license, OTHER) for license in _licenses(rows)}),
        "task_categories": ["text-generation"],
        "size_categories": [_size(len(rows))],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": name} for split, name in splits.items()],
            }
        ],
    }
    recipe = exported.params.arms[exported.arm]
    without = f", without the tags {', '.join(recipe.without)}" if recipe.without else ""
    return _card(
        front,
        f"# Training data of {exported.arm}",
        f"{len(exported.train)} training examples and {len(exported.held_out)} held-out examples for perplexity, drawn "
        f"from the pool {recipe.pool}{without}. Each line has an id, messages (role, content), tags, and provenance: "
        "source, site, address, author, license and the SHA-256 of the raw record.",
        "## Training examples by source",
        _sources(exported.train),
        "## Licenses",
        _table(("license", "examples"), _licenses(rows).items()),
        "attribution.csv has one row per example: title, author, address, license and changes. Licenses with "
        "attribution and share-alike terms require that it stays with the data.",
    )


def serve_command(folder: Path, *, name: str, host: str, port: int) -> list[str]:
    """Command that serves a checkpoint through an OpenAI-compatible API: vLLM if installed, else transformers.

    Raises:
        NoServer: neither is installed.
    """
    address = ["--host", host, "--port", str(port)]
    if vllm := shutil.which("vllm"):
        # both apply the chat template and the sampling settings in the folder
        return [vllm, "serve", str(folder), "--served-model-name", name, "--generation-config", "auto", *address]
    if (transformers := shutil.which("transformers")) and importlib.util.find_spec("uvicorn"):
        return [transformers, "serve", str(folder), *address]
    raise NoServer("no server is installed; run `pip install vllm`, or `pip install 'transformers[serving]'`")


def _card(front: Mapping[str, object], *blocks: str) -> str:
    out = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(dict(front), out)
    return f"---\n{out.getvalue()}---\n\n" + "\n\n".join(blocks) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return visible_line(str(value)).replace("|", "\\|")


def _sources(examples: Sequence[Example]) -> str:
    counts = Counter(example.provenance.source for example in examples)
    return _table(("source", "examples"), counts.items())


def _licenses(examples: Iterable[Example]) -> dict[str, int]:
    return dict(sorted(Counter(example.provenance.license or "unknown" for example in examples).items()))


def _evaluations(exported: Exported) -> str:
    """Table of the pairwise evaluations with this arm; annotators that are rules about form are marked."""
    p, names = exported.params, set(contestants_of(exported.params, exported.arm))
    rows = []
    for name, by_annotator in exported.figures.get("evaluations", {}).items():
        evaluation = p.evaluations.get(name)
        if evaluation and evaluation.task == "pairwise" and {evaluation.contestant, evaluation.rival} & names:
            for annotator, value in by_annotator.items():
                kind = " (a rule about form)" if annotator in p.baselines() else ""
                interval = "–" if value["low"] is None else f"{value['low']:+.3f} to {value['high']:+.3f}"
                net = "–" if value["net"] is None else f"{value['net']:+.3f}"
                pair = f"{evaluation.contestant} – {evaluation.rival}"
                rows.append((name, pair, f"{annotator}{kind}", net, interval, value["usable"]))
    if not rows:
        return "No evaluation figures: the report was not written when this folder was exported."
    head = ("evaluation", "pair", "annotator", "win − lose", f"{p.report.confidence:.0%} interval", "judged prompts")
    return _table(head, rows)


def _size(rows: int) -> str:
    """Size category of the hub."""
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for bound, name in bounds if rows < bound), "1M<n<10M")
