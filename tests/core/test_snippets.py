"""Code as course notes write it, for PyTorch: it runs with nothing but the module's name changed."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import BACKENDS

import fastconv as fc

SNIPPETS = Path(__file__).parents[1] / "snippets"


@pytest.fixture(params=[*BACKENDS, "torch"])
def run(request):
    """Runs a snippet; returns its names and what it printed.

    PyTorch runs the same file unchanged, for comparison.
    """
    if request.param == "torch":
        pytest.importorskip("torch")

    def run(name):
        source = (SNIPPETS / f"{name}.py").read_text("utf-8")
        names, out = {"__name__": name}, io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(out))
            if request.param != "torch":
                source = re.sub(r"\btorchvision\b", "fastconv.data", source)
                source = re.sub(r"\btorch\b", "fastconv", source)
                stack.enter_context(fc.backend(request.param))
            exec(compile(source, f"{name}.py for {request.param}", "exec"), names)
        return names, out.getvalue()

    run.torch = request.param == "torch"
    return run


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def test_multilayer_perceptrons(run):
    names, out = run("mlp")
    assert parameters(names["small"]) == 2_053 and parameters(names["large"]) == 7_946
    for history in (names["small_history"], names["large_history"]):
        assert len(history) == 20 and np.all(np.diff(history) < 0)
    assert out.splitlines()[-1] == f"epoch 20, loss {names['large_history'][-1]:.4f}"


def test_corr2d_in_plain_loops(run):
    names, _ = run("corr2d")
    np.testing.assert_array_equal(names["single"], [[19, 25], [37, 43]])
    np.testing.assert_array_equal(names["stacked"], [[[56, 72], [104, 120]], [[76, 100], [148, 172]]])
    np.testing.assert_array_equal(names["edges"], [[0, 1, 0, 0, 0, -1, 0]] * 6)
    assert names["losses"][-1] < 1e-2 * names["losses"][0]
    layer = names["layer"]
    np.testing.assert_allclose(layer.weight.detach().numpy(), [[1, -1]], rtol=0, atol=0.1)


def test_learning_a_kernel(run):
    names, out = run("learn_a_kernel")
    printed = [
        f"epoch {e}, loss {v}" for e, v in zip(range(2, 11, 2), "8.979 1.693 0.360 0.092 0.028".split())
    ]
    assert out.splitlines() == printed
    got = names["conv2d"].weight.detach().numpy().ravel()
    np.testing.assert_allclose(got, [1.0003, -0.9699], rtol=0, atol=5e-5)


def test_lenet(run):
    names, out = run("lenet")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:12]] == [type(m).__name__ for m in names["net"]]
    assert all("output shape: " in line for line in lines[:12])
    assert "1, 6, 28, 28" in lines[0] and "1, 400" in lines[6] and "1, 10" in lines[11]
    assert names["history"][0] > 1.0 and names["accuracy"] == 1.0
    assert lines[12] == f"loss {names['history'][-1]:.3f}, train acc 1.000"


def test_layers_on_arrays(run):
    names, out = run("image")
    assert out == "[(1, 3, 3, 3)]\n"
    assert names["edges"].shape == (18, 22)
    np.testing.assert_array_equal(names["flat"], 0)
    x = names["image"].sum(2).astype(np.float64)  # equal kernels: the channels may be added first
    around = sum(x[i : i + 18, j : j + 22] for i in range(3) for j in range(3))
    np.testing.assert_allclose(names["edges"], (9 * x[1:-1, 1:-1] - around) / 8, rtol=0, atol=1e-4)


@pytest.mark.full_on("numpy")
def test_a_training_script(run):
    """The user's own data set and net, hooks, clipping, schedules, freezing, the best model on disk."""
    if run.torch:
        try:
            import torchvision  # noqa: F401
        except (ImportError, RuntimeError) as e:  # the latter where it does not fit the PyTorch that is there
            pytest.skip(f"torchvision: {e}")
    names, out = run("port")
    assert len(out.splitlines()) == 8 and "accuracy" in out
    assert names["best"] >= 0.95 and names["restored_accuracy"] == names["best"]
    assert names["shapes"]["ConvTranspose1d"] == (2, 16, 40) and names["shapes"]["Linear"] == (2, 3)
    assert not names["net"].stem[0].weight.requires_grad and names["net"].stem[0].weight.grad is None
    assert len(names["optimizer"].param_groups) == 2 and float(names["norm"]) > 0
    assert names["checkpoint"]["epoch"] <= 7
