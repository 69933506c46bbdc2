"""Write THIRD_PARTY_NOTICES.md: name, version and license of each direct dependency, as installed here.

`python infra/third_party_notices.py`, or `make notices`.
"""

import re
import tomllib
from importlib.metadata import files, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = """# Third-party notices

Direct dependencies of lima with the versions of requirements.lock. Each is a separate work under
its own license; none is part of this repository. `make notices` writes this file.

| package | version | license | group |
|---|---|---|---|
"""


def license_of(name: str) -> str:
    """The SPDX expression, else the trove classifiers, else the license field, else the license file's first line."""
    data = metadata(name)
    if expression := data.get("License-Expression"):
        return expression
    classifiers = [line.split(" :: ")[-1] for line in data.get_all("Classifier", []) if line.startswith("License :: ")]
    if classifiers := [line for line in classifiers if line != "OSI Approved"]:
        return ", ".join(classifiers)
    if stated := (data.get("License") or "").strip():
        return stated.splitlines()[0]
    texts = [file for file in files(name) or () if file.name.upper().startswith("LICENSE")]
    return next(
        (line.strip() for text in texts for line in text.read_text().splitlines() if line.strip()), "not stated"
    )


def rows() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"default": project["dependencies"], **project["optional-dependencies"]}
    listed = {re.split(r"[\[<>=!~ ;]", item)[0]: group for group, items in reversed(groups.items()) for item in items}
    return [
        f"| {name} | {metadata(name)['Version'].partition('+')[0]} | {license_of(name).replace('|', '/')} | {group} |"
        for name, group in sorted(listed.items(), key=lambda item: item[0].lower())
    ]


if __name__ == "__main__":
    (ROOT / "THIRD_PARTY_NOTICES.md").write_text(HEAD + "\n".join(rows()) + "\n", encoding="utf-8")
