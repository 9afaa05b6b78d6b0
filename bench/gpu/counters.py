"""What the hardware counts in the three passes of one layer, by Nsight Compute (``ncu``)."""

from __future__ import annotations

import subprocess

from . import checkers
from .results import Stage, check, detail, say, skip

SECTIONS = ("SpeedOfLight", "LaunchStats", "Occupancy", "MemoryWorkloadAnalysis", "WarpStateStats")
SHORT = (
    "Duration",
    "Compute (SM) Throughput",
    "Memory Throughput",
    "L1/TEX Hit Rate",
    "L2 Hit Rate",
    "Registers Per Thread",
    "Achieved Occupancy",
    "Dynamic Shared Memory Per Block",
)


def main(stage: Stage) -> int:
    if stage.dry:
        return skip("the simulator has no counters")
    ncu = checkers.program("ncu")
    if ncu is None:
        return skip("there is no ncu")
    command = [ncu, "--clock-control", "none", "--kernel-name", "regex:implicit_gemm", "--launch-count", "3"]
    for section in SECTIONS:
        command += ["--section", section]
    command += checkers.kernels(stage, "counters")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = 0
    for line in process.stdout or ():
        detail(line.rstrip())
        words = line.strip()
        if "implicit_gemm" in words and "Context" in words:
            found += 1
            say(words[:120])
        elif words.startswith(SHORT):
            say("   ", " ".join(words.split())[:80])
        elif words.startswith("==ERROR=="):
            say(words[:160])
    code = process.wait()
    good = code == 0 and found > 0
    check(stage, "ncu", "passed" if good else "failed", note=f"{found} kernels, exit code {code}")
    return int(not good)
