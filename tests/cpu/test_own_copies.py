"""A result does not depend on whether its kernel was compiled in this process or loaded from the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv as fc

PROGRAM = """
import hashlib
import numpy as np
from fastconv.backends import load

engine, rng = load("cpu"), np.random.default_rng(0)
x, gy = (rng.standard_normal((6, 37)).astype("float32") for _ in range(2))
weight = rng.standard_normal(37).astype("float32")
y, mean, invstd = engine.layer_norm_fwd(x, weight, weight, 1e-5)
results = y, mean, invstd, *engine.layer_norm_bwd(gy, x, mean, invstd, weight)
print([hashlib.sha256(np.ascontiguousarray(a)).hexdigest() for a in results])
"""


@pytest.mark.full
def test_compiled_and_loaded_kernels_give_the_same_bits(tmp_path):
    """The gradient of x differed in its last bits: the process that compiled ran another copy of the loop."""
    here = {
        **os.environ,
        "FASTCONV_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(fc.__file__).parents[1]),
    }
    printed = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env=here, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("*.bin"))  # or nothing was loaded
    assert printed[0] == printed[1]
