"""What a stage leaves behind: rows that are on disk at once, and lines for the driver."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

try:
    import fcntl
except ImportError:  # Windows, where one process writes at a time
    fcntl = None

BENCH = Path(__file__).resolve().parents[1]
ROOT = BENCH.parent

CHECKS = ("stage", "name", "outcome", "seconds", "value", "limit", "note")


class Stage(NamedTuple):
    """What a stage is told.

    Attributes
    ----------
    name : str
    out : Path
        The folder of the results.
    dry : bool
        Whether the simulator stands in for a GPU; times mean nothing then.
    end : float
        When the stage is stopped, by ``perf_counter``.
    part : str or None
        What a stage of several processes gives to each.
    """

    name: str
    out: Path
    dry: bool
    end: float
    part: str | None = None

    def left(self) -> float:
        """Seconds until the stage is stopped."""
        return self.end - perf_counter()


def say(*words) -> None:
    """Print a line of the short form."""
    print(*words, flush=True)


def detail(*words) -> None:
    """Print what only the log needs."""
    print(*words, file=sys.stderr, flush=True)


def skip(why: str) -> int:
    """End a stage that cannot run here."""
    say(f"skipped: {why}")
    return 0


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300] if text else ''}"


def append(path: Path, fields: Iterable[str], row: Mapping[str, Any]) -> None:
    """Add a row to a CSV file, which is made with a header; other processes may add rows, too."""
    with open(path, "a", newline="") as f:
        if fcntl:
            fcntl.flock(f, fcntl.LOCK_EX)
        writer = csv.DictWriter(f, list(fields))
        if f.tell() == 0 and os.fstat(f.fileno()).st_size == 0:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file so far."""
    if not path.exists():
        return []
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def check(stage: Stage, name: str, outcome: str, **more) -> None:
    """Add a row to ``checks.csv``."""
    append(stage.out / "checks.csv", CHECKS, {"stage": stage.name, "name": name, "outcome": outcome} | more)


def attempt(stage: Stage, name: str, run: Callable[[], Any], limit: float | None = None) -> bool:
    """Run one step, print it, and keep its row; whether it succeeded.

    Parameters
    ----------
    run : callable
        Returns None, a text, or a number that must stay below ``limit``.
    """
    start = perf_counter()
    try:
        found, failed = run(), None
    except Exception as e:  # one failure is a row, not the end of the stage
        found, failed = None, first_line(e)
        detail(traceback.format_exc())
    if limit is not None and isinstance(found, float) and not found <= limit:  # NaN fails, too
        failed = f"{found:.3g} is above the limit {limit:.3g}"
    seconds, number = perf_counter() - start, isinstance(found, float)
    note = failed or ("" if number or found is None else str(found))
    outcome = "failed" if failed else "passed"
    check(stage, name, outcome, seconds=seconds, value=found if number else "", limit=limit, note=note)
    value = f"{found:.3g}" if number and not failed else note
    say(f"{'FAILED' if failed else 'ok':6} {seconds:7.2f} s  {name}  {value}")
    return failed is None


def add_to_machine(out: Path, found: Mapping[str, Any]) -> None:
    """Add entries to ``machine.json``."""
    path = out / "machine.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **found}, indent=1, default=str) + "\n")


def start_part(stage: Stage, part: str, seconds: float, **options) -> subprocess.Popen:
    """Start a process for one part of a stage; it belongs to the process group of the stage.

    ``options`` are those of ``Popen``.
    """
    command = [sys.executable, "-u", "-m", "gpu", stage.name, "--out", str(stage.out), "--part", part]
    command += ["--seconds", f"{seconds:.1f}", *["--dry-run"] * stage.dry]
    return subprocess.Popen(command, **options)


def go_on(stage: Stage, part: str) -> int:
    """Do the rest of a stage in a new process, as this one can no longer use the device; its exit code."""
    say(f"FAILED the device is lost to this process; a new one goes on with {part}")
    process = start_part(stage, part, stage.left() - 1)
    try:
        return process.wait(max(stage.left(), 0.1))
    except subprocess.TimeoutExpired:
        process.kill()
        return 1


def wait_for_part(part: str, process: subprocess.Popen, seconds: float) -> bool:
    """Wait until a part ends, or stop it; whether it succeeded."""
    try:
        code = process.wait(max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        say(f"FAILED {part}: stopped, its time is up")
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        process.kill()
        return False
    if code:
        say(f"FAILED {part}: exit code {code}")
    return code == 0
