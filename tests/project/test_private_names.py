"""Nothing outside a module uses its private names: the package, tests, tools, bench and examples."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("fastconv", "tests", "tools", "bench", "examples")
FILES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))

#: Names with an underscore that are public by their documentation, or of other libraries.
ELSEWHERE = {
    "_fields": "named tuples",
    "_asdict": "named tuples",
    "_make": "named tuples",
    "_replace": "named tuples",
    "_getframe": "sys: the only way to the caller's frame",
    "_repr_html_": "what notebooks call",
    "_repr_svg_": "what notebooks call",
    "_actions": "argparse has no public list of a parser's options",
    "_SubParsersAction": "argparse has no public name for it",
    "_neg_view": "torch: the only way to a tensor with the bit set",
    "_boxed_call": "torch: the mark of a function that takes its arguments as a list",
    "_dynamo": "torch: where users find mark_dynamic",
    "_version": "torch: counts the changes of a tensor",
    "_getvalue": "numba: the struct that a proxy of it has built",
    "_Cache": "numba: the cache that jit.py replaces",
    "_compiler": "numba: the step that compiling.py watches",
    "_reduce": "numba: what a compiled kernel is stored as",
    "_rebuild": "numba: the inverse of _reduce",
    "_defn": "numba: the function of an intrinsic",
    "_get_kernel_context": "numba: the simulator's kernel that runs now",
    "_manager": "numba: the simulator's block of a thread",
}
NAMED_BY_TEXT = {"setattr", "getattr", "delattr", "hasattr"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name.strip("_") != ""


def defined_here(tree: ast.AST) -> set[str]:
    """Names that a file defines itself: functions, classes, variables, parameters, attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Store):
            if not isinstance(node, ast.Attribute) or getattr(node.value, "id", "") in ("self", "cls"):
                found.add(node.attr if isinstance(node, ast.Attribute) else node.id)
        elif isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__slots__" for t in node.targets):
            found |= {c.value for c in ast.walk(node.value) if isinstance(c, ast.Constant)}
    return found


def foreign(source: str) -> set[str]:
    """The private names of other modules that ``source`` uses."""
    tree = ast.parse(source)
    own, found = defined_here(tree), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {a.name for a in node.names if is_private(a.name)}
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            if getattr(node.value, "id", "") not in ("self", "cls"):
                found.add(node.attr)
        elif isinstance(node, ast.Call):
            # monkeypatch.setattr(module, "_name", ...) and monkeypatch.setattr("package.module._name", ...)
            function = getattr(node.func, "attr", getattr(node.func, "id", ""))
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if function in NAMED_BY_TEXT and texts and is_private(name := texts[0].rpartition(".")[2]):
                found |= {name} - own
    return found


def test_a_file_uses_no_private_name_of_another():
    """Every exception is needed, too."""
    found = {p.relative_to(ROOT).as_posix(): foreign(p.read_text("utf-8")) for p in FILES}
    used = {name: names - ELSEWHERE.keys() for name, names in found.items() if names - ELSEWHERE.keys()}
    assert used == {}, "make these public, or give them a door"
    assert ELSEWHERE.keys() <= set().union(*found.values())


@pytest.mark.parametrize(
    "source, names",
    [
        ("from .memory import _pool", {"_pool"}),
        ("from .memory import __version__, pool, _", set()),
        ("from . import memory\nmemory._pool.trim()", {"_pool"}),
        ("from . import memory\nmemory._pool = None", {"_pool"}),
        ("class A:\n  def __init__(self, other):\n    self._x = 1\n    other._x", set()),
        ("class A(B):\n    def f(self):\n        return self._x + cls._y", set()),
        ("monkeypatch.setattr(disk, '_user', None)", {"_user"}),
        ("monkeypatch.setattr('fastconv.backends.disk._user', None)", {"_user"}),
        ("getattr(x, '__len__')", set()),
    ],
)
def test_the_walk_sees_what_it_should(source, names):
    assert foreign(source) == names
