"""``fastconv onnx``: a file is shown and run."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import cli

pytest.importorskip("onnx.checker")


@pytest.fixture
def lenet(tmp_path):
    net = fc.models.lenet5()
    fc.onnx.export(net, fc.zeros(1, 1, 28, 28), tmp_path / "lenet.onnx", dynamic_batch=True)
    return net.eval(), tmp_path / "lenet.onnx"


def test_info(lenet, capsys):
    net, path = lenet
    assert cli.main(["onnx", "info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "input   input: batchx1x28x28 float32" in out and "opset 18" in out
    assert f"{sum(p.numel() for p in net.parameters()):,} parameters in 10 tensors" in out
    assert "Conv" in out and "Gemm" in out


def test_run_of_random_numbers(lenet, capsys):
    assert cli.main(["onnx", "run", str(lenet[1]), "--size", "batch=3"]) == 0
    assert "output: 3x10 float32" in capsys.readouterr().out


def test_run_of_given_arrays(lenet, tmp_path, capsys):
    net, path = lenet
    x = np.random.default_rng(0).standard_normal((2, 1, 28, 28)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "y.npz"
    assert cli.main(["onnx", "run", str(path), "--input", str(tmp_path / "x.npy"), "--output", str(out)]) == 0
    np.testing.assert_allclose(fc.load(out)["output"].numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)
    assert "2x10" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, words",
    [
        (["run", "FILE", "--size", "batch"], "--size must be NAME=N"),
        (["run", "FILE", "--input", "a.npy", "b.npy"], "--input must name 1 files"),
        (["info", "none.onnx"], "none.onnx"),
    ],
)
def test_errors_are_one_line(options, words, lenet, capsys):
    assert cli.main(["onnx", *[str(lenet[1]) if o == "FILE" else o for o in options]]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
