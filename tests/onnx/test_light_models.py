"""Networks of the literature, as graphs with constant weights that come with the package ``onnx``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.selection import full

import fastconv as fc

onnx = pytest.importorskip("onnx.checker") and pytest.importorskip("onnx")
FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = sorted(p.stem.removeprefix("light_") for p in FOLDER.glob("light_*.onnx"))
FAST = ("squeezenet",)


def test_graphs_are_there():
    assert len(NAMES) >= 9


@pytest.mark.parametrize("name", [*FAST, *full(*[n for n in NAMES if n not in FAST])])
def test_light_model(name):
    """The result that the package names, for inputs 0, 1, ... divided by their number."""
    net = fc.onnx.load(FOLDER / f"light_{name}.onnx")
    inputs = []
    for given in net.inputs:
        n = int(np.prod(given.shape))
        inputs.append((np.arange(n).reshape(given.shape) / n).astype(given.dtype))
    want = onnx.load_tensor(FOLDER / f"light_{name}_output_0.pb")
    with fc.no_grad():
        got = net(*inputs).numpy()
    np.testing.assert_allclose(got, onnx.numpy_helper.to_array(want), rtol=1e-3, atol=1e-7)
