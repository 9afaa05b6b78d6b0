"""The CUDA part of the test-suite, in many processes. What ran before the time was up is known."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec

from .results import ROOT, Stage, check, detail, say

SUITES = (
    "tests/cuda",
    "tests/core/test_contract.py",
    "tests/core/test_conv_phases.py",
    "tests/ops/test_ops.py",
    "tests/ops/test_precision.py",
)
# these compile every kernel, start a machine for PTX, or start a session like this one
WITHOUT = (
    "test_every_kernel_compiles_for_a_device",
    "test_on_the_machine",
    "test_what_bounds_a_layer",
    "test_gpu_session",
)
WORKERS, TEST_SECONDS, GROUPS = 10, 40, 30


def command(dry: bool) -> list[str]:
    found = [sys.executable, "-m", "pytest", "-p", "gpu.outcomes", "-p", "no:cacheprovider"]
    found += ["-q", "--tb=short", "-rf"]
    if dry:
        return [*found, "tests/cuda/test_cuda.py", "-k", "reshape_is_a_view"]
    if find_spec("xdist"):
        found += ["-n", str(min(WORKERS, os.cpu_count() or 1)), "--dist", "worksteal"]
    if find_spec("pytest_timeout"):
        found += ["--timeout", str(TEST_SECONDS), "--timeout-method", "thread"]
    return [*found, *SUITES, "-k", "cuda and not " + " and not ".join(WITHOUT)]


def summary(lines) -> tuple[Counter, list[tuple[int, str, str]]]:
    """How many tests had each outcome; of the failures: how often, the error, the first test."""
    outcomes, groups, first = Counter(), Counter(), {}
    for line in lines:
        words = line.rstrip("\n").split("\t")
        if line[:1].isspace() or len(words) < 3:
            continue
        outcomes[words[0]] += 1
        if words[0] == "failed":
            error = re.sub(r"'[^']*'|0x[0-9a-f]+|\d+(\.\d+)?(e[-+]?\d+)?", "#", words[3])
            groups[error] += 1
            first.setdefault(error, (words[3], words[2]))
    return outcomes, [(n, *first[error]) for error, n in groups.most_common(GROUPS)]


def main(stage: Stage) -> int:
    path = stage.out / "tests.txt"
    env = os.environ | {"FASTCONV_OUTCOMES": str(path.resolve())}
    before = path.read_text() if path.exists() else ""
    detail(*command(stage.dry))
    process = subprocess.Popen(command(stage.dry), cwd=ROOT, env=env, stdout=sys.stderr)
    try:
        code = process.wait(max(stage.left() - 5, 1))
        how = "all of them"
    except subprocess.TimeoutExpired:
        process.terminate()
        code, how = -1, "cut off, the time is up"
    outcomes, groups = summary(path.read_text()[len(before) :].splitlines() if path.exists() else [])
    counts = ", ".join(f"{outcomes[k]} {k}" for k in ("passed", "failed", "skipped"))
    say(f"{counts}; {how}; pytest's exit code {code}")
    for n, error, test in groups:
        say(f"FAILED {n:3} x {error[:150]}  first: {test.rpartition('/')[2]}")
    check(stage, "pytest", "passed" if code == 0 else "failed", note=f"{counts}; {how}")
    return int(code != 0)
