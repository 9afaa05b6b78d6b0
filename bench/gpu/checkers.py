"""What NVIDIA's compute-sanitizer says of one kernel of each family: memcheck, racecheck."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from .results import Stage, check, detail, say, skip

SHOWN = 20  # lines of errors


def program(name: str) -> str | None:
    """A program of the CUDA toolkit: on PATH, in the toolkit's folder, or in a wheel."""
    wheels = Path(sysconfig.get_paths()["purelib"], "nvidia").glob(f"*/bin/{name}")
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    places = [shutil.which(name), Path(home, "bin", name), Path("/usr/local/cuda/bin", name), *wheels]
    return next((str(p) for p in places if p and os.access(p, os.X_OK)), None)


def kernels(stage: Stage, part: str) -> list[str]:
    """The command that runs one kernel of each family."""
    return [sys.executable, "-u", "-m", "gpu", "kernels", "--out", str(stage.out), "--part", part]


def main(stage: Stage) -> int:
    if stage.dry:
        return skip("the simulator has no machine code to check")
    sanitizer = program("compute-sanitizer")
    if sanitizer is None:
        return skip("there is no compute-sanitizer")
    command = [sanitizer, "--tool", stage.name, "--print-limit", "50", *kernels(stage, "all")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shown, errors, last = 0, None, ""
    for line in process.stdout or ():
        detail(line.rstrip())
        if found := re.search(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (\d+)", line):
            errors = int(found[1])
        if line.startswith("=====") and line.strip("= \n") and not line.startswith("=========     "):
            shown += 1
            if shown <= SHOWN:
                say(line.rstrip()[:160])
        elif line.startswith(("run ", "FAILED ")):
            last = line.strip()
            if line.startswith("FAILED "):
                say(last)
    code = process.wait()
    outcome = "passed" if errors == 0 and code == 0 else "failed"
    note = f"{errors} errors, exit code {code}, last: {last}"
    say(f"{stage.name}: {note}")
    check(stage, stage.name, outcome, value=errors, note=note)
    return int(outcome == "failed")
