"""Digest of each module without comments and docstrings: `python -m lima.stages.code`.

The other stages depend on these digests instead of the modules, so that a changed comment runs this stage only. The
digests of one module are the same for all versions of Python whose grammar has its syntax.
"""

import ast
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import lima
from lima import storage
from lima.errors import LimaError, run_command

SUFFIX = ".sha256"


@storage.alone("code")
def main() -> None:
    package = Path(lima.__file__).parent
    modules = sorted(package.rglob("*.py"))
    digests = {path.relative_to(package).with_suffix(SUFFIX): digest(path) for path in modules}
    # not `storage.publish`, which syncs each file to disk: a partial result costs a second run of this stage
    folder = storage.result_dir("code")
    if folder.exists():
        shutil.rmtree(folder)  # its files may be hard links into DVC's cache, which a write would change
    for name, value in digests.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(value + "\n", encoding="utf-8")
    print(f"code: digests of {len(modules)} modules")


def digest(path: Path) -> str:
    """SHA-256 over the syntax tree of a module, hexadecimal.

    Raises:
        LimaError: the module is not valid Python.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise LimaError(f"{path} is not valid Python: {error}; correct it") from error
    return hashlib.sha256("\n".join(tokens(tree)).encode()).hexdigest()


def tokens(node: ast.AST) -> Iterator[str]:
    """Yield the syntax tree as text: names of nodes and fields, and constants; without positions and empty fields.

    A string that is a statement, such as a docstring, is left out.
    """
    yield type(node).__name__
    for name, value in ast.iter_fields(node):
        if value is None or value == []:
            continue
        yield name
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                if not _is_text(item):
                    yield from tokens(item)
            else:
                yield repr(item)
        yield "end"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


if __name__ == "__main__":
    run_command(main)
