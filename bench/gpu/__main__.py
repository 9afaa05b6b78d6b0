"""Run one stage in this process: ``python -m gpu STAGE --out DIR --seconds N [--part P] [--dry-run]``.

``gpu_session.py`` starts it so. What a stage prints to stdout is its short form; details and tracebacks go to
stderr. A stage that has nothing to do here ends its output with a line that starts with "skipped: ".
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import signal
import sys
from pathlib import Path
from time import perf_counter

from .results import Stage

MODULES = {"memcheck": "checkers", "racecheck": "checkers"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="gpu", description=__doc__)
    parser.add_argument("stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--part")
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    if hasattr(faulthandler, "register"):  # at its limit a stage says where it was
        faulthandler.register(signal.SIGTERM, all_threads=False, chain=True)
    stage = Stage(given.stage, given.out, given.dry_run, perf_counter() + given.seconds, given.part)
    module = importlib.import_module(f"gpu.{MODULES.get(given.stage, given.stage)}")
    return module.main(stage) or 0


if __name__ == "__main__":
    sys.exit(main())
