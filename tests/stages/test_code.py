"""Digests of modules: equal exactly if the code without comments, docstrings and layout is equal."""

import pytest

from lima.errors import LimaError
from lima.stages import code

CODE = 'def f(x):\n    """Return y."""\n    # why\n    return {"a": x + 1, "b": None}\n'


@pytest.fixture
def digest_of(tmp_path):
    def digest(text):
        (tmp_path / "module.py").write_text(text)
        return code.digest(tmp_path / "module.py")

    return digest


@pytest.mark.parametrize(
    "changed",
    [
        CODE.replace("# why", "# because"),
        CODE.replace("Return y.", "Return z."),
        CODE.replace('    """Return y."""\n', ""),
        "# license\n\n" + CODE,
        CODE.replace('{"a": x + 1, "b": None}', '{\n        "a": (x + 1),\n        "b": None,\n    }'),
    ],
)
def test_comments_docstrings_and_layout_do_not_change_a_digest(changed, digest_of):
    assert changed != CODE
    assert digest_of(changed) == digest_of(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x + 1", "x + 2"),
        ("x + 1", "x + 1.0"),
        ("x + 1", "x + True"),
        ("x + 1", "x - 1"),
        ("None", "0"),
        ('"a"', '"A"'),
        ('"a"', 'b"a"'),
        ("def f(x)", "def f(y)"),
        ("def f(x)", "def f(x=None)"),
        ("def f(x)", "def f(*, x)"),
        ("def f(x)", "async def f(x)"),
        ('"b": None', '**{"b": None}'),
        ("return", "yield"),
    ],
)
def test_every_other_change_changes_it(old, new, digest_of):
    assert digest_of(CODE.replace(old, new)) != digest_of(CODE)


def test_a_statement_moved_out_of_a_block_changes_it(digest_of):
    inside, outside = "if a:\n    b()\n    c()\n", "if a:\n    b()\nc()\n"
    assert digest_of(inside) != digest_of(outside)


def test_an_invalid_module_is_named(digest_of):
    with pytest.raises(LimaError, match=r"module\.py is not valid Python: .*line 1.*; correct it"):
        digest_of("def f(:\n")


def test_each_module_has_a_digest_and_those_of_removed_modules_disappear(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stale = tmp_path / "data/code/evaluation/removed.sha256"
    stale.parent.mkdir(parents=True)
    stale.write_text("0\n")
    code.main()
    assert not stale.exists()
    written = tmp_path / "data/code/evaluation/constraints/__init__.sha256"
    assert written.read_text().strip() == code.digest(
        code.Path(code.lima.__file__).parent / "evaluation/constraints/__init__.py"
    )
