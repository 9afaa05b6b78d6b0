"""``fastconv onnx``: what an ONNX file contains, and what it computes."""

# Arrays in files are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
from collections import Counter
from time import perf_counter
from typing import Any

import numpy as np

from .. import inference, io, onnx
from ..checks import check, shape_str
from ..table import Table
from ..tensor import Tensor
from .options import command


def add(commands: Any) -> None:
    """Declare the command and its two actions."""
    text = "show or run an ONNX file"
    parser = commands.add_parser("onnx", help=text, description=text)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    shown = command(actions, "info", info, "show inputs, results, parameters and operators")
    ran = command(actions, "run", run, "run the file, optimized for inference, and show its results")
    for one in (shown, ran):
        one.add_argument("path", metavar="FILE", help="an ONNX file")
    ran.add_argument(
        "--input", nargs="+", metavar="NPY", help="an array for each input; default: random numbers"
    )
    ran.add_argument(
        "--size",
        nargs="+",
        metavar="NAME=N",
        default=[],
        help="extents that the file leaves open; default: 1",
    )
    ran.add_argument("--output", metavar="FILE", help="save the results, by name, as .npz or .safetensors")


def info(args: argparse.Namespace) -> int:
    """Print what is in the file."""
    net = onnx.load(args.path)
    for i in net.inputs:
        print(f"input   {i.name}: {_shape(i)} {i.dtype}")
    print(f"output  {', '.join(net.outputs)}")
    weights = sum(p.numel() for p in net.parameters())
    print(f"{weights:,} parameters in {len(list(net.parameters()))} tensors; opset {net.opset}\n")
    counts = Counter(n.op for n in net.nodes)
    print(Table(("operator", "nodes"), [(op, str(n)) for op, n in counts.most_common()], "lr").text())
    return 0


def run(args: argparse.Namespace) -> int:
    """Run the file and print its results."""
    net = onnx.load(args.path)
    sizes = dict(_size(text) for text in args.size)
    inputs = _read(net, args.input) if args.input else [_random(i, sizes) for i in net.inputs]
    fast = inference.optimize_for_inference(net)
    for _ in range(2):  # these runs prepare the later ones
        fast(*inputs)
    start = perf_counter()
    found: Any = fast(*inputs)
    seconds = perf_counter() - start
    results: list[Tensor] = list(found) if isinstance(found, tuple) else [found]
    for name, y in zip(net.outputs, results):
        values = y.numpy()
        about = f", {values.min():g} to {values.max():g}, mean {values.mean():g}" if values.size else ""
        print(f"{name}: {shape_str(y.shape)} {y.dtype}{about}")
    print(f"{seconds * 1e3:.2f} ms")
    if args.output:
        io.save(dict(zip(net.outputs, results)), args.output)
    return 0


def _shape(i: onnx.Input) -> str:
    return "any shape" if i.shape is None else "x".join("?" if n is None else str(n) for n in i.shape)


def _size(text: str) -> tuple[str, int]:
    name, _, n = text.partition("=")
    check(name and n.isdecimal(), "onnx", f"--size must be NAME=N, such as batch=8, got {text!r}")
    return name, int(n)


def _read(net: onnx.OnnxModule, paths: list[str]) -> list[Tensor]:
    names = [i.name for i in net.inputs]
    check(
        len(paths) == len(names),
        "onnx",
        f"--input must name {len(names)} files ({', '.join(names)}), got {len(paths)}",
    )
    return [Tensor(np.load(path, allow_pickle=False)) for path in paths]


def _random(i: onnx.Input, sizes: dict[str, int]) -> Tensor:
    """An input of random numbers; integers are 0, because they may be indices."""
    check(i.shape is not None, "onnx", f"the file does not say the shape of {i.name!r}; give --input")
    shape = [n if isinstance(n, int) else sizes.get(n or "", 1) for n in i.shape or ()]
    if i.dtype.kind != "f":
        return Tensor(np.zeros(shape, i.dtype))
    return Tensor(np.random.default_rng(0).random(shape, np.float32).astype(i.dtype))
