"""docs/pytorch.md says what is there: it is made from the package, and its replacements compute what PyTorch
computes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("pytorch_page", ROOT / "tools" / "pytorch_page.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def test_the_page_is_made_from_the_code():
    pytest.importorskip("torch")
    assert tool.PAGE.read_text("utf-8") == tool.page(), "run: python tools/pytorch_page.py"


@pytest.mark.parametrize("title", [t for t, (place, *_) in tool.PLACES.items() if place])
def test_every_listed_name_is_pytorchs(title):
    pytest.importorskip("torch")
    place, _, names = tool.PLACES[title]
    there = tool.pytorchs(place)
    own = {"register_module"} if not hasattr(there, "register_module") else set()
    assert [n for n in names.split() if not hasattr(there, n) and n not in own] == []


@pytest.mark.parametrize("title", tool.PLACES)
def test_the_page_says_which_names_are_there(title):
    section = tool.PAGE.read_text("utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    has, has_not = tool.listed(*tool.PLACES[title])
    assert f"Has: {', '.join(f'`{n}`' for n in has)}." in section
    assert [n for n in has_not if f"`{n}`" not in section.split("Has not: ")[1]] == []


@pytest.mark.parametrize("theirs, ours", tool.INSTEAD, ids=[theirs for theirs, _ in tool.INSTEAD])
def test_what_to_write_instead_computes_the_same(theirs, ours):
    torch = pytest.importorskip("torch")
    g = np.random.default_rng(0)
    x, y = (g.normal(scale=4, size=(2, 4, 6, 6)).astype(np.float32) for _ in range(2))
    p, q = (g.uniform(0.1, 0.9, size=(3, 5)).astype(np.float32) for _ in range(2))
    arrays = {
        "x": x,
        "y": y,
        "p": p,
        "q": q,
        "i": np.array([2, 0, 3]),
        "v": g.normal(size=(3, 5)).astype(np.float32),
        "w": g.normal(size=(4, 3, 3, 3)).astype(np.float32),
    }
    tensors = {k: torch.from_numpy(a) for k, a in arrays.items()}
    want = eval(theirs, {"torch": torch, "F": torch.nn.functional, **tensors})
    got = eval(ours, {"fc": fc, "F": F, "np": np, **{k: fc.tensor(a) for k, a in arrays.items()}})
    assert got.shape == tuple(want.shape)
    np.testing.assert_allclose(np.asarray(got), want.numpy(), rtol=2e-5, atol=2e-5)
