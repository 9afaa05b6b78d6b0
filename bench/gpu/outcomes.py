"""A pytest plugin that writes the outcome of each test to a file as it comes, with the errors of failures.

``pytest -p gpu.outcomes`` with the file's name in ``FASTCONV_OUTCOMES``. Some errors leave the CUDA context
of a process unusable. A worker of pytest-xdist that has seen one ends before its next test, and xdist starts
another.
"""

from __future__ import annotations

import os
import signal
import sys

STICKY = (
    "ILLEGAL_ADDRESS",
    "MISALIGNED_ADDRESS",
    "ILLEGAL_INSTRUCTION",
    "INVALID_PC",
    "INVALID_ADDRESS_SPACE",
    "HARDWARE_STACK_ERROR",
    "LAUNCH_FAILED",
    "LAUNCH_TIMEOUT",
)
MOST_TEXT, MOST_BYTES = 3000, 6 << 20  # of one error, of the file
_state = {"path": "", "worker": False, "poisoned": False, "bytes": 0}


def pytest_configure(config):
    _state["path"], _state["worker"] = os.environ["FASTCONV_OUTCOMES"], hasattr(config, "workerinput")


def message(report) -> str:
    """The error in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr or "")
    lines = [line for line in text.strip().splitlines() if line.strip()] or ["no message"]
    return (lines[0] if crash else lines[-1])[:300]


def pytest_runtest_logreport(report):
    if report.failed and any(f"CUDA_ERROR_{name}" in report.longreprtext for name in STICKY):
        _state["poisoned"] = True
    if _state["worker"] or not (report.when == "call" or report.failed or report.skipped):
        return
    line = f"{report.outcome}\t{report.duration:.2f}\t{report.nodeid}"
    if report.failed:
        line += f"\t{message(report)}\n" + "\n".join(
            f"    {part}" for part in report.longreprtext[-MOST_TEXT:].splitlines()
        )
    _state["bytes"] += len(line)
    if _state["bytes"] < MOST_BYTES:
        with open(_state["path"], "a") as f:
            print(line, file=f)


def pytest_runtest_logstart(nodeid, location):
    if _state["worker"] and _state["poisoned"]:
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
