"""The parser of the command line: every command adds its own options."""

from __future__ import annotations

import argparse

from .._version import __version__
from . import cache, doctor, onnx_files, summary, training, warmup


def make_parser() -> argparse.ArgumentParser:
    """The parser; ``args.run(args)`` runs the command that was parsed."""
    parser = argparse.ArgumentParser(prog="fastconv", description="Train and run convolutional networks.")
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    doctor.add(commands)
    warmup.add(commands)
    cache.add(commands)
    summary.add(commands)
    onnx_files.add(commands)
    commands.add_parser(
        "bench", help="compare speed with PyTorch and others (in a clone of the repository)", add_help=False
    )
    training.add(commands)
    return parser
