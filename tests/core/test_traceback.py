"""Errors are shown where the user wrote what does not fit: frames of fastconv are left out, frames of the
user never."""

from __future__ import annotations

import pickle
import subprocess
import sys
import traceback

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F

new = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 keeps all frames")

NET = """
import fastconv as fc
from fastconv import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        last = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(9, 8, 3))
        self.f = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), last)
    def forward(self, x):
        return self.f(x)
"""


class Net(nn.Module):
    """A function of the user's between modules that fastconv calls."""

    def __init__(self, function, *more):
        super().__init__()
        self.function = function
        self.f = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(8, 8, 3), *more))

    def forward(self, x):
        return self.function(self.f(x))


def frames(call, *args):
    """Names of the functions in the traceback of what ``call`` raises, behind the test's own; the error's
    text."""
    try:
        call(*args)
    except Exception as e:
        names = [f.name for f in traceback.extract_tb(e.__traceback__)]
        return names[1:], "".join(traceback.format_exception(e))
    raise AssertionError("nothing was raised")


X = np.zeros((2, 3, 9, 9), np.float32)


@new
def test_a_wrong_shape_in_a_nested_net(backend):
    names, text = frames(Net(lambda x: x, nn.Conv2d(9, 8, 3)), X)
    assert names == ["forward"] and len(text.splitlines()) <= 10
    wanted = "weight expects 9 input channels (weight 8x9x3x3, groups 1), input has 8 (2x8x5x5)"
    assert f"ValueError: conv2d: {wanted}" in text
    assert "\nin f.2.1 (Conv2d) of Net (FASTCONV_FULL_TRACEBACK=1 shows" in text
    names, text = frames(fc.models.resnet18(), X[:, :1])
    assert names == [] and "\nin conv1 (Conv2d) of ResNet (" in text and len(text.splitlines()) <= 7


@new
def test_of_an_optimized_net(backend):
    fast = fc.optimize_for_inference(Net(lambda x: x, nn.Conv2d(9, 8, 3), nn.BatchNorm2d(8)))
    names, text = frames(fast, X)
    assert names == ["forward"] and "conv2d: weight expects 9" in text
    assert "\nin f.2.1 (Conv2d) of Net (" in text


@new
@pytest.mark.parametrize(
    ("call", "function"),
    [
        (lambda: F.conv2d(X, np.zeros((4, 2, 3, 3), np.float32)), None),
        (lambda: F.max_pool2d(X, 0), None),
        (lambda: F.linear(X, np.zeros((4, 2), np.float32)), "linear"),
        (lambda: fc.tensor(X) @ fc.zeros(2, 2), "__matmul__"),
        (lambda: nn.Conv2d(3, 4, 3)(fc.tensor(X).double()), None),
        (lambda: nn.MaxPool2d(99)(X), None),
        (lambda: nn.Module()(X), None),
    ],
)
def test_functions_and_layers(call, function):
    names, _ = frames(call)
    assert names[0] == "<lambda>" and len(names) <= 2
    assert function is None or names[1:] in ([], [function], ["_operator"], ["op"])


def test_frames_of_the_user_stay(backend):
    """An error of the user's, and one that fastconv raises in a function of the user's."""

    def inner(x):
        return outer(x)

    def outer(x):
        return x.reshape(7) if x.sum().item() == 0 else {}["missing"]

    net = Net(inner)
    for p in net.parameters():
        p.data[...] = 0.0
    names, text = frames(net, X)
    assert [n for n in names if n in ("forward", "inner", "outer")] == ["forward", "inner", "outer"]
    net.f[2][0].bias.data[...] = 1.0
    names, text = frames(net, X)
    assert names[-3:] == ["forward", "inner", "outer"] and text.endswith("KeyError: 'missing'\n")


def test_a_fault_of_fastconv_keeps_its_frames(backend, monkeypatch):
    def broken(*args, **options):
        return None.nothing

    monkeypatch.setattr(fc.zeros(1).engine, "conv_fwd", broken)
    names, text = frames(Net(lambda x: x), X)
    assert names[-1] == "broken" and {"__call__", "apply"} <= set(names) and "FASTCONV_FULL" not in text

    def conversion(*args, **options):
        raise ValueError("not raised by fastconv")

    monkeypatch.setattr(fc.zeros(1).engine, "conv_fwd", conversion)
    assert {"__call__", "apply", "conversion"} <= set(frames(Net(lambda x: x), X)[0])


def test_all_frames_on_demand(monkeypatch):
    monkeypatch.setenv("FASTCONV_FULL_TRACEBACK", "1")
    names, text = frames(Net(lambda x: x, nn.Conv2d(9, 8, 3)), X)
    assert {"__call__", "apply", "conv_spec"} <= set(names) and "FASTCONV_FULL" not in text


@new
def test_one_error_on_several_ways():
    """Caught and raised again, by the user and in another process."""
    net = Net(lambda x: x, nn.Conv2d(9, 8, 3))

    def again():
        try:
            net(X)
        except ValueError as e:
            pickle.loads(pickle.dumps(e))
            raise

    assert frames(again)[0] == ["again", "forward"]

    def other():
        try:
            net(X)
        except ValueError as e:
            raise KeyError("other") from e

    names, text = frames(other)
    assert names == ["other"] and "direct cause" in text


@new
def test_in_ipython():
    """What a notebook shows."""
    pytest.importorskip("IPython")
    program = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell(colors="NoColor")
shell.run_cell({NET!r})
shell.run_cell("net, x = Net(), fc.zeros(1, 3, 8, 8)")
print("here")
shell.run_cell("net.f(x)")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    lines = run.stdout.partition("here\n")[2].rstrip().splitlines()
    assert (
        len(lines) <= 10
        and "input has 8 (1x8x4x4)" in lines[-2]
        and "in 2.1 (Conv2d) of Sequential" in lines[-1]
    ), run
