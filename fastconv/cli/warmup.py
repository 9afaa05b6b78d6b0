"""``fastconv warmup``: compile every kernel that training on the CPU needs."""

from __future__ import annotations

import argparse
from time import perf_counter
from typing import Any

from ..backends import compiling
from .options import command


def add(commands: Any) -> None:
    """Declare the command."""
    command(commands, "warmup", run, "compile every kernel of the cpu backend now")


def run(args: argparse.Namespace) -> int:
    """Compile now, so that no later run waits for it."""
    from ..backends.cpu.runtime import machine
    from ..backends.cpu.warmup import jobs

    start, todo = perf_counter(), jobs()
    bar: Any = todo
    try:
        from tqdm import tqdm

        bar = tqdm(todo, unit="op")
    except ImportError:
        pass
    with compiling.silent():
        for label, job in bar:
            if bar is todo:
                print(f"compiling {label}", flush=True)
            else:
                bar.set_postfix_str(label)
            job()
    print(f"{len(todo)} ops ready in {perf_counter() - start:.1f} s; kernel cache: {machine.cache()}")
    return 0
