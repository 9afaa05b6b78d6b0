"""``fastconv warmup``: compile the kernels of a backend before they are needed."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from ..backends import compiling
from ..backends.availability import INSTALL
from .options import command


def add(commands: Any) -> None:
    """Declare the command."""
    p = command(commands, "warmup", run, "compile kernels now, so that no later run waits for it")
    p.add_argument(
        "--backend",
        choices=("cpu", "cuda"),
        default="cpu",
        help="cpu: every kernel; cuda: those of common nets, which needs no GPU",
    )
    p.add_argument(
        "--cc",
        type=capability,
        default="9.0",
        metavar="MAJOR.MINOR",
        help="with --backend cuda, the compute capability of the GPU that will run them",
    )


def capability(text: str) -> tuple[int, int]:
    """The type of ``--cc``."""
    major, dot, minor = text.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a capability such as 9.0, got {text!r}")
    return int(major), int(minor)


def run(args: argparse.Namespace) -> int:
    """Compile the kernels of a backend."""
    return _cuda(args.cc) if args.backend == "cuda" else _cpu()


def _cuda(cc: tuple[int, int]) -> int:
    if find_spec("numba_cuda") is None:
        raise RuntimeError(f"warmup: numba-cuda, which compiles the kernels, is not installed; {INSTALL}")
    from ..backends.cuda.codegen import compiler
    from ..backends.settings import available_cpus
    from .cuda_kernels import compile_all

    start, done = perf_counter(), 0
    for count in compile_all(cc, available_cpus()):
        done += count
        print(f"{done} kernels compiled", flush=True)
    what = f"{done} kernels for capability {cc[0]}.{cc[1]}"
    print(f"{what} ready in {perf_counter() - start:.1f} s; kernel cache: {compiler.cache_dir()}")
    return 0


def _cpu() -> int:
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
