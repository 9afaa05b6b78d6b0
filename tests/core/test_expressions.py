"""Expressions as PyTorch's users write them: fastconv gives what PyTorch gives, with the module's name
changed."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc

torch = pytest.importorskip("torch")

LINES = (Path(__file__).parents[1] / "snippets" / "expressions.txt").read_text("utf-8").splitlines()
EXPRESSIONS = [line for line in LINES if line and not line.startswith("#")]


def names(lib):
    """What the expressions use, as one library has it."""
    rng = np.random.default_rng(1)
    net = lib.nn.Sequential(lib.nn.Conv2d(3, 4, 3), lib.nn.ReLU(), lib.nn.Conv2d(4, 2, 1))
    for n, p in enumerate(net.parameters()):
        p.grad = lib.full(tuple(p.shape), n + 1.0)
    return {
        lib.__name__: lib,
        "nn": lib.nn,
        "F": lib.nn.functional,
        "x": lib.from_numpy(rng.standard_normal((2, 3, 4, 5), np.float32)),
        "m": lib.from_numpy(rng.standard_normal((4, 4), np.float32)),
        "v": lib.from_numpy(rng.standard_normal(5, np.float32)),
        "i": lib.from_numpy(rng.integers(-9, 9, (2, 3))),
        "b": lib.from_numpy(rng.random((4, 4)) > 0.5),
        "s": lib.tensor(2.5),
        "w": lib.ones(3, requires_grad=True),
        "net": net,
    }


def value(source, lib):
    """What the expression gives; of ``a, b = ...`` the right-hand side."""
    source = re.sub(r"\btorch\b", lib.__name__, source)
    known = names(lib)
    if re.match(r"\w+, \w+ = ", source):
        source = source.partition(" = ")[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval(source, known)


def plain(found):
    """Tensors as arrays and everything else by value; objects of the libraries by their kind."""
    if isinstance(found, (torch.Tensor, fc.Tensor)):
        return found.detach().numpy()
    if isinstance(found, (list, tuple)):
        return [plain(f) for f in found]
    if isinstance(found, (int, float, str, bool)) or found is None:
        return found
    return type(found).__name__


def compare(got, expected):
    if isinstance(expected, list):
        assert isinstance(got, list) and len(got) == len(expected)
        for g, e in zip(got, expected):
            compare(g, e)
    elif isinstance(expected, np.ndarray):
        assert got.shape == expected.shape and got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=1e-5)
    else:
        assert got == expected


@pytest.mark.parametrize("source", EXPRESSIONS)
def test_expression(source):
    compare(plain(value(source, fc)), plain(value(source, torch)))
