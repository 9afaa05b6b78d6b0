"""Every example (``>>>``) in the docstrings of the package runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim
from fastconv.nn import functional as F

NAMES = {"fc": fc, "np": np, "nn": nn, "F": F, "optim": optim, "Tensor": fc.Tensor}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
#: Packages whose modules import a GPU's compiler, or run when they are imported.
LEFT_OUT = ("fastconv.backends.cuda", "fastconv.__main__")
#: Their examples show what the default engine does.
ENGINES = ("fastconv.backends", "fastconv.inspect", "fastconv.inference")


def examples():
    """Each docstring with examples as a ``DocTest``, with its dotted name."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for info in pkgutil.walk_packages(fc.__path__, "fastconv."):
        if info.name.startswith(LEFT_OUT):
            continue
        module = importlib.import_module(info.name)
        if ">>>" in inspect.getsource(module):
            yield from (t for t in finder.find(module, info.name, extraglobs=NAMES) if t.examples)


EXAMPLES = sorted(examples(), key=lambda t: t.name)


@pytest.mark.parametrize("example", EXAMPLES, ids=[t.name for t in EXAMPLES])
def test_example(example, tmp_path, monkeypatch):
    """On the reference, which compiles nothing, unless the example is about an engine."""
    if "import torch\n" in example.docstring:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    with fc.backend(fc.get_backend() if example.name.startswith(ENGINES) else "numpy"):
        doctest.DocTestRunner(optionflags=FLAGS).run(example, out=said.append)
    assert not said, "".join(said)


def test_examples_are_found():
    names = {t.name for t in EXAMPLES}
    assert len(names) > 60
    for place in ("nn.functional.conv.conv2d", "optim", "data", "models", "train", "io", "inspect"):
        assert any(name.startswith(f"fastconv.{place}") for name in names), place


def test_headings_of_docstrings_are_lines():
    """``Notes`` and the dashes under it: text that is wrapped anew must not pull them into one line."""
    pulled = re.compile(r"^\s*\w[\w ]* -{4,}", re.MULTILINE)
    files = Path(fc.__file__).parent.rglob("*.py")
    found = [f"{p}: {m.group()}" for p in files for m in pulled.finditer(p.read_text("utf-8"))]
    assert found == []


def test_a_wrong_example_is_found():
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", "wrong", 0)
    assert doctest.DocTestRunner(optionflags=FLAGS).run(wrong, out=lambda _: None).failed == 1
