"""Fixtures for every test: the backends present, fixed seeds, and a hypothesis profile that repeats itself."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import fastconv as fc

settings.register_profile(
    "fastconv",
    deadline=None,  # the first example of a shape may compile
    max_examples=30,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fastconv")


def has_cuda() -> bool:
    """Whether this installation and this machine can put a tensor on a GPU."""
    try:
        with fc.backend("cuda"):
            return fc.zeros(1).device == "cuda"
    except RuntimeError:
        return False


# A shell that starts the tests in the background has told them to ignore Ctrl-C, which some of them send themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

BACKENDS = ["numpy", "cpu", *(["cuda"] if has_cuda() else [])]


def pytest_report_header(config):
    return f"fastconv backends under test: {', '.join(BACKENDS)}" + ("" if "cuda" in BACKENDS else " (no CUDA device)")


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Runs the test once on each backend present; the value is its name."""
    with fc.backend(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def seeds():
    """Every test draws the same random numbers, whichever tests ran before it."""
    fc.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - a test that uses the global generator by mistake still repeats itself


@pytest.fixture
def blank_weights(monkeypatch):
    """New layers keep zero weights: nothing is drawn, and memory is only used where a test writes."""
    for name in ("uniform_", "normal_"):
        monkeypatch.setattr(fc.nn.init, name, lambda t, *options: t)
