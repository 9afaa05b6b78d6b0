"""``fastconv summary``: print :func:`fastconv.summary` of a model."""

from __future__ import annotations

import argparse
from typing import Any

from .. import inspect, models
from ..checks import check
from .options import AT_LEAST_1, command, model


def add(commands: Any) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "summary",
        run,
        "print a network's shapes, parameters, multiply-adds and receptive fields",
    )
    names = ", ".join(["lenet", *models.list_models()])
    parser.add_argument("model", type=model, metavar="MODEL", help=f"one of {names}")
    parser.add_argument(
        "--input",
        metavar="NxCxHxW",
        help="default: what the model is for: 1x3x224x224, for LeNet 1x1x28x28, with --small-input 1x3x32x32",
    )
    parser.add_argument("--classes", metavar="N", type=AT_LEAST_1, help="default: the model's own")
    parser.add_argument("--small-input", action="store_true", help="ResNet for images of about 32x32")


def run(args: argparse.Namespace) -> int:
    """Print the summary."""
    size = {"lenet5": "1x28x28"}.get(args.model, "3x32x32" if args.small_input else "3x224x224")
    text = args.input or f"1x{size}"
    shape = [int(n) if n.isdecimal() else -1 for n in text.split("x")]
    check(
        len(shape) == 4 and min(shape) >= 0,
        "summary",
        f"--input must be batch x channels x height x width, such as 1x3x224x224, got {text!r}",
    )
    options = {"in_channels": shape[1]} | ({} if args.classes is None else {"num_classes": args.classes})
    if args.small_input:
        check(args.model.startswith("resnet"), "summary", f"--small-input is for ResNets, got {args.model}")
        options["small_input"] = True
    print(inspect.summary(getattr(models, args.model)(**options), tuple(shape)))
    return 0
