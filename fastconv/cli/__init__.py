"""The command ``fastconv`` (also ``python -m fastconv``): doctor, warmup, cache, summary, onnx, train, bench.

A command is a file of this folder. Its ``add`` declares the options, and a function of these runs it.
"""

from __future__ import annotations

import re
import sys
import warnings

from ..distributed.world import report
from . import bench
from .parser import make_parser

__all__ = ["main"]

#: Words in the library's messages -> what they are called on the command line.
OPTIONS = {
    "resume=False": "--no-resume",
    "checkpoint=": "--out",
    "root=": "--data",
    "download=False": "--no-download",
    "download=True": "without --no-download",
    "batch_size": "--batch-size",
    "weight_decay": "--weight-decay",
    "label_smoothing of the loss": "--label-smoothing",
    "total_steps of OneCycleLR": "steps (--epochs)",
    "T_max of CosineAnnealingLR": "steps (--epochs)",
    "scheduler OneCycleLR": "--schedule one-cycle",
    "scheduler CosineAnnealingLR": "--schedule cosine",
    "now OneCycleLR": "now one-cycle",
    "now CosineAnnealingLR": "now cosine",
    "num_replicas and rank": "them",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 on success, 2 after a user's error (one line on stderr), 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["bench"]:  # its options are those of bench/compare.py: see fastconv bench --help
        return bench.run(argv[1:])
    args = make_parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return args.run(args)
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as e:
        if args.traceback:
            raise
        report(f"fastconv: error: {_as_options(e)}", 2)
        return 2


def _show_warning(message: object, *_: object, **__: object) -> None:
    print(f"fastconv: warning: {_as_options(message)}", file=sys.stderr)


def _as_options(message: object) -> str:
    """A message of the library in the words of the command line."""
    return re.sub("|".join(map(re.escape, OPTIONS)), lambda found: OPTIONS[found[0]], str(message))
