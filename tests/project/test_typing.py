"""Types: every public function has them, and checkers find a user's mistakes with the installed package."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv as fc
from fastconv import data, io, models, nn, optim, train
from fastconv import inspect as inspection
from fastconv.nn import functional as F

SCRIPT = Path(__file__).parents[1] / "snippets" / "typed.py"

# One mistake a line, each of which a checker must find.
WRONG = """
F.conv2d("image", x)
F.conv2d(x, x, strides=2)
x.no_such_method()
y: str = x + 1
z: fc.Tensor = F.max_pool2d(x, 2, return_indices=True)
nn.NoSuchLayer()
nn.Linear(3)
optim.SGD(nn.Linear(1, 1).parameters(), learning_rate=0.1)
train.fit(nn.Linear(1, 1))
fc.zeros("many")
len(x.shape) + "text"
"""


def mypy(folder, name):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.full
def test_a_correct_script_has_no_error_in_strict_mode(tmp_path):
    shutil.copy(SCRIPT, tmp_path / "typed.py")
    done = mypy(tmp_path, "typed.py")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.full
def test_mistakes_are_found(tmp_path):
    head = (
        "import fastconv as fc\nfrom fastconv import nn, optim, train\n"
        "from fastconv.nn import functional as F\n\n"
        "x = fc.zeros(2)\n"
    )
    lines = WRONG.strip().splitlines()
    (tmp_path / "wrong.py").write_text(head + "\n".join(lines) + "\n")
    done = mypy(tmp_path, "wrong.py")
    found = {
        int(line.split(":")[1]) - head.count("\n") - 1
        for line in done.stdout.splitlines()
        if ": error:" in line
    }
    assert [line for i, line in enumerate(lines) if i not in found] == []


def test_the_script_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(SCRIPT.read_text("utf-8"), str(SCRIPT), "exec"), {"__name__": "typed"})
    assert capsys.readouterr().out.count("\n") == 3


PUBLIC = {
    "fc": fc,
    "fc.cuda": fc.cuda,
    "nn": nn,
    "nn.init": nn.init,
    "nn.utils": nn.utils,
    "fc.autograd": fc.autograd,
    "F": F,
    "optim": optim,
    "optim.lr_scheduler": optim.lr_scheduler,
    "data": data,
    "data.transforms": data.transforms,
    "train": train,
    "models": models,
    "io": io,
    "inspect": inspection,
}
#: Methods of Python's protocols that a class may define; their types matter as those of other methods.
PROTOCOLS = {"__init__", "__call__", "__getitem__", "__setitem__", "__len__", "__iter__", "__enter__"}


def public(module):
    """The public functions and classes of a module, by name: those of ``__all__``, or those defined in it."""
    own = [n for n, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", [n for n in own if not n.startswith("_")])
    found = {name: getattr(module, name) for name in names}
    return {
        name: thing
        for name, thing in found.items()
        if (inspect.isfunction(thing) or inspect.isclass(thing))
        and (getattr(thing, "__module__", "") or "").startswith("fastconv")
    }


def functions(prefix, module):
    """Every public function and every public method of a public class, with its name."""
    for name, thing in public(module).items():
        if inspect.isfunction(thing):
            yield f"{prefix}.{name}", thing
            continue
        for owner in thing.__mro__:
            if not owner.__module__.startswith("fastconv"):
                continue
            for method, raw in vars(owner).items():
                function = getattr(raw, "__func__", getattr(raw, "fget", raw))
                shown = not method.startswith("_") or method in PROTOCOLS
                if shown and inspect.isfunction(function):
                    yield f"{prefix}.{name}.{method}", function


def untyped(function) -> list[str]:
    """The parameters without a type, and "return" if the result has none."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    missing = [p.name for p in parameters if p.annotation is p.empty]
    constructor = function.__name__ == "__init__" and parameters  # checkers know what it returns
    return missing + ["return"] * (signature.return_annotation is signature.empty and not constructor)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_has_types(name):
    found = dict(functions(name, PUBLIC[name]))
    assert found
    assert {label: missing for label, f in found.items() if (missing := untyped(f))} == {}


def test_a_function_without_types_is_noticed():
    def half(x: int, y, *rest, **options) -> int:
        return x

    assert untyped(half) == ["y", "rest", "options"]
    assert untyped(lambda: None) == ["return"]
    assert {"nn.Module.__call__", "nn.Module.parameters"} <= dict(functions("nn", nn)).keys()
    assert "fc.Tensor.backward" in dict(functions("fc", fc))
