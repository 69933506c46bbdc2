"""Hook of MkDocs: pages that are generated at build time, and links to files outside of docs/.

The pages of reference/ come from the typed parameters, the records and the command line. Documents outside of docs/,
such as README.md, become pages, and the links to them are changed accordingly.
"""

import inspect
import posixpath
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer.main
from annotated_types import Ge, Gt, Le, Lt
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from typer.cli import get_docs_for_click

from lima import records
from lima.cli import app
from lima.config import Params

ROOT = Path(__file__).parents[1]
OUTSIDE = {  # document outside of docs/ → its page
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.md",
    "THIRD_PARTY_NOTICES.md": "third-party-notices.md",
    "benchmarks/README.md": "benchmarks.md",
    "corpus/README.md": "corpus.md",
    "corpus/LICENSE.md": "corpus-license.md",
}
ORIGINS = {page: origin for origin, page in OUTSIDE.items()}
SHIM = re.compile(r'<script src="https://unpkg\.com/iframe-worker[^"]*"></script>')  # docs/file-worker.js replaces it
LINK = re.compile(r"(\]\(|<img src=\")([^)\"#:\s]+)(?=[)\"#])")
SHOWN_CHARS = 40  # of a value in the reference of params.yaml


def on_files(files: Files, config: MkDocsConfig) -> Files:
    generated = {
        "reference/params.md": params_page(),
        "reference/records.md": records_page(),
        "reference/cli.md": cli_page(),
    }
    outside = {page: (ROOT / origin).read_text(encoding="utf-8") for origin, page in OUTSIDE.items()}
    outside["license.md"] = f"# License\n\n{outside['license.md'].removeprefix('MIT License').strip()}\n"
    for name, content in {**generated, **outside}.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace links to documents outside of docs/ by links to their pages."""
    return rewritten(markdown, page.file.src_uri)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Replace the only script that the theme loads from the network."""
    script = posixpath.relpath("file-worker.js", posixpath.dirname(page.url) or ".")
    return SHIM.sub(f'<script src="{script}"></script>', output)


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    return SHIM.sub('<script src="/file-worker.js"></script>', output_content)


def rewritten(markdown: str, page: str) -> str:
    """Return a page with its links relative to the page; they are relative to the document of the repository."""
    origin = ORIGINS.get(page, f"docs/{page}")

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), match[2]))
        new = OUTSIDE.get(path, path.removeprefix("docs/"))
        return match[1] + posixpath.relpath(new, posixpath.dirname(page) or ".")

    return LINK.sub(target, markdown)


def cli_page() -> str:
    command = typer.main.get_command(app)
    with typer.Context(command, info_name="lima") as context:
        text = get_docs_for_click(obj=command, ctx=context, name="lima", title="Command line")
    status = (
        "Exit status: 0 on success; 1 for an error or a failed check, with one line on standard error; 2 for a wrong "
        "option; 130 after Ctrl-C. With `NO_COLOR` set nothing is coloured. Progress is shown on a terminal only.\n\n"
    )
    return text.replace("**Usage**", f"{status}**Usage**", 1)


def records_page() -> str:
    parts = [
        "# Records\n\nStages exchange these records as lines of JSON. They are pydantic models of `lima.records`; "
        "unknown fields and values of another type are errors.\n"
    ]
    for model in vars(records).values():
        if inspect.isclass(model) and issubclass(model, records.Record) and model is not records.Record:
            parts += [f"\n## {model.__name__}\n", _doc(model), _table(model, source_comments(model))]
    return "\n".join(parts)


def params_page() -> str:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    values, comments, introductions = YAML(typ="safe").load(text), key_comments(text), section_comments(text)
    parts = [
        "# params.yaml\n\nEvery number of the pipeline is in `params.yaml`. This page lists each key with its type, "
        "the value of the profile `laptop`, unit and source. A § refers to a section of the paper. "
        "`lima profile list` names the other profiles.\n"
    ]
    for name, field in Params.model_fields.items():
        key = field.alias or name
        parts += [f"\n## {key}\n"]
        if key in introductions:
            parts += [f"```text\n{introductions[key]}\n```\n"]
        models = list(_models(field.annotation))
        if get_origin(field.annotation) is dict or not models:
            parts += [f"Type: {described(field.annotation, field.metadata)}\n"]
            for model in models:
                parts += [f"### {model.__name__} {{ #{key}-{model.__name__.lower()} }}\n", _doc(model)]
                parts += [_table(model, source_comments(model))]
        else:
            parts += [_doc(models[0]), *_section(models[0], (key,), values[key], comments)]
    return "\n".join(parts)


def _section(
    model: type[BaseModel], path: tuple[str, ...], values: Mapping[str, Any], comments: Mapping[tuple[str, ...], str]
) -> Iterator[str]:
    """The table of a section; sections in it follow."""
    nested = {name: _only_section(field) for name, field in model.model_fields.items()}
    of_keys = {name: comments[*path, name] for name in model.model_fields if (*path, name) in comments}
    shown = {name: values[name] for name in model.model_fields if name in values and not nested[name]}
    yield _table(model, {**source_comments(model), **of_keys}, shown)
    for name, inner in nested.items():
        if inner and isinstance(values.get(name), Mapping):
            yield f"### {'.'.join((*path, name))}\n"
            yield _doc(inner)
            yield from _section(inner, (*path, name), values[name], comments)


def _only_section(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if inspect.isclass(annotation) and issubclass(annotation, BaseModel) else None


def _table(model: type[BaseModel], comments: Mapping[str, str], values: Mapping[str, Any] | None = None) -> str:
    if not model.model_fields:
        return "No keys.\n"
    title = "default" if values is None else "laptop"
    lines = [f"| key | type | {title} | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if values is None:
            shown = "" if field.is_required() else field.get_default(call_default_factory=True)
        else:
            shown = values.get(name, "")
        cells = (f"`{field.alias or name}`", described(field.annotation, field.metadata), _value(shown))
        lines.append(f"| {' | '.join(cells)} | {_cell(comments.get(name, ''))} |")
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if value == "":
        return ""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{_cell(text if len(text) <= SHOWN_CHARS else f'{text[: SHOWN_CHARS - 1]}…')}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _doc(model: type[BaseModel]) -> str:
    return f"{inspect.cleandoc(model.__doc__)}\n" if model.__doc__ else ""


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models in an annotation, in order."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def described(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """Return a type with its bounds in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return described(parts[0], parts[1:])
    if origin in (Union, types.UnionType):
        names = list(dict.fromkeys(described(part) for part in parts))
        return " or ".join(sorted(names, key=lambda name: name == "null"))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in _literals(parts))
    if origin in (list, tuple):
        return f"list of {described(parts[0])}"
    if origin in (dict, Mapping):
        return f"mapping of {described(parts[0])} to {described(parts[1])}"
    if annotation is type(None):
        return "null"
    name = {
        str: "text",
        int: "integer",
        float: "number",
        bool: "true or false",
        object: "any value",
        Any: "any value",
        JsonValue: "JSON",
    }
    text = name.get(annotation) or annotation.__name__
    if inspect.isclass(annotation) and issubclass(annotation, records.Record):
        text = f"[{text}](#{text.lower()})"
    bounds = [bound for each in metadata for bound in getattr(each, "metadata", [each])]
    words = [f"{sign} {value:g}" for bound in bounds for sign, value in _bound(bound)]
    return f"{text} {', '.join(words)}".strip()


def _literals(parts: tuple[Any, ...]) -> Iterator[Any]:
    for part in parts:
        if get_origin(part) is Literal:
            yield from _literals(get_args(part))
        else:
            yield part


def _bound(bound: object) -> Iterator[tuple[str, float]]:
    for kind, sign, name in ((Ge, "≥", "ge"), (Gt, ">", "gt"), (Le, "≤", "le"), (Lt, "<", "lt")):
        if isinstance(bound, kind):
            yield sign, getattr(bound, name)


def source_comments(model: type[BaseModel]) -> dict[str, str]:
    """Return the comment at the end of the line of each field, also of inherited ones."""
    comments = {}
    for base in reversed([each for each in model.__mro__ if issubclass(each, BaseModel) and each is not BaseModel]):
        for line in inspect.getsourcelines(base)[0]:
            if match := re.match(r" {4}(\w+): .*?\s{2}# (.+)$", line):
                comments[match[1]] = match[2].strip()
    return comments


def key_comments(text: str) -> dict[tuple[str, ...], str]:
    """Return the comment at the end of the line of each key of params.yaml, by the path of keys."""
    comments, path = {}, []
    for line in text.splitlines():
        if match := re.match(r"( *)([\w.-]+):(?: |$)", line):
            del path[len(match[1]) // 2 :]
            path.append(match[2])
            if (comment := re.search(r"\s# (.+)$", line)) is not None:
                comments[tuple(path)] = comment[1]
    return comments


def section_comments(text: str) -> dict[str, str]:
    """Return the lines of comments above each section of params.yaml."""
    found = re.findall(r"(?<=\n\n)((?:# .*\n|#\n)+)(\w+):", text)
    return {key: re.sub(r"^# ?", "", block.rstrip(), flags=re.M) for block, key in found}
