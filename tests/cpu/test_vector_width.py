"""Kernels for shorter vectors than this processor's: the same results from code compiled for AVX2, and for
vectors of 16 bytes without masked loads, as 64-bit ARM processors have."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv as fc
from fastconv.backends.cpu.codegen import emitter

CODE = """
import sys

import numpy as np
import fastconv as fc
from fastconv import nn, spec
from fastconv.backends import load
from fastconv.backends.cpu.codegen import emitter

assert emitter.VECTOR_BYTES == int(sys.argv[1]), emitter.VECTOR_BYTES
engine, reference, rng = load("cpu"), load("numpy"), np.random.default_rng(0)
done = set()
for shape, weight, options in (
    ((2, 17, 9, 11), (19, 17, 3, 3), dict(padding=1)),
    ((1, 70, 8, 7), (40, 70, 3, 3), dict(padding=1, stride=2)),
    ((2, 3, 12, 13), (20, 3, 7, 5), dict(padding=2, stride=2)),
    ((2, 8, 9, 6), (8, 1, 3, 3), dict(padding=1, groups=8)),
    ((3, 33, 5, 6), (21, 33, 1, 1), {}),
):
    s = spec.conv_spec("conv2d", shape, weight, **options)
    x, w, gy, b = (rng.standard_normal(t).astype("f4") for t in (shape, weight, s.y_shape, weight[:1]))
    exact = [a.astype("f8") for a in (x, w, gy, b)]
    want = (
        reference.conv_fwd(*exact[:2], exact[3], s, None, exact[2], "relu"),
        reference.conv_bwd_data(exact[2], exact[1], s),
        reference.conv_bwd_weight(exact[0], exact[2], s),
    )
    for a in engine.CONV_ALGORITHMS:
        if a.refuses(s, x.dtype) is None:
            got = (
                engine.conv_fwd(x, w, b, s, a.name, gy, "relu"),
                engine.conv_bwd_data(gy, w, s, a.name),
                engine.conv_bwd_weight(x, gy, s, a.name),
            )
            tolerance = 1e-4 if a.name == "winograd" else 3e-6
            for y, z in zip(got, want):
                assert np.abs(y - z).max() < tolerance * np.abs(z).max(), (a.name, s)
            done.add(a.name)
net = nn.Sequential(
    nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2),
    nn.Conv2d(6, 16, 5, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(16, 10),
)
x, label = rng.standard_normal((5, 1, 12, 12)).astype("f4"), np.arange(5)
found = {}
for name in ("cpu", "numpy"):
    with fc.backend(name):
        net.zero_grad()
        nn.CrossEntropyLoss()(net(fc.tensor(x)), label).backward()
        found[name] = [p.grad.numpy().copy() for p in net.parameters()]
for a, b in zip(found["cpu"], found["numpy"]):
    assert np.abs(a - b).max() < 1e-4 * max(np.abs(b).max(), 1e-3)
print("vectors of", emitter.VECTOR_BYTES * 8, "bits:", *sorted(done))
"""


BASE = "sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt"
PROCESSORS = {16: ("nehalem", BASE), 32: ("haswell", (*BASE, "avx", "avx2", "fma"))}


@pytest.mark.full
@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="these processors are x86-64 processors"
)
@pytest.mark.parametrize("vector_bytes", PROCESSORS)
def test_shorter_vectors(vector_bytes):
    if emitter.VECTOR_BYTES < vector_bytes:
        pytest.skip(f"this processor has no vectors of {vector_bytes} bytes")
    name, features = PROCESSORS[vector_bytes]
    env = {
        **os.environ,
        "NUMBA_CPU_NAME": name,
        "NUMBA_CPU_FEATURES": ",".join("+" + f for f in features),
        "PYTHONPATH": str(Path(fc.__file__).parents[1]),
    }
    command = [sys.executable, "-c", CODE, str(vector_bytes)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    expected = f"vectors of {8 * vector_bytes} bits: depthwise direct im2col winograd"
    assert done.stdout.strip() == expected
