"""What is timed: the shape files, the ops, the networks, and the numbers they are fed. Knows no engine.

A *job* is a dict that survives JSON: ``suite`` ("conv", "op" or "net"), ``set``, ``name``, ``count``,
``pass`` and what the suite needs besides. Every engine draws the same numbers from the job alone.
"""

from __future__ import annotations

import os
import zlib
from math import prod
from pathlib import Path

import names
import numpy as np
import user_networks

from fastconv.spec import ConvSpec, conv_spec

SHAPES = Path(__file__).parent / "shapes"
FIELDS = ("count", "N", "C", "H", "W", "K", "kh", "kw", "stride", "padding", "dilation", "groups")
PASSES = {"conv": ("fwd", "bwd"), "op": ("fwd", "bwd", "step"), "net": ("infer", "train")}

#: Network -> (images of one batch, classes).
NETS = {
    "lenet": ((256, 1, 28, 28), 10),
    "resnet18": ((8, 3, 224, 224), 1000),
    "resnet18_32": ((32, 3, 32, 32), 10),
    "resnet18_28": ((64, 1, 28, 28), 10),  # as examples/train_resnet18.py trains it on Fashion-MNIST
}
ALL_NETS = NETS | user_networks.SHAPES

#: Op, shape of its input, what else it takes: sizes of ResNet-18 (224 and 32 pixels) and LeNet. "step" is
#: forward and backward, or an update, in one.
OPS = [
    ("max_pool", (8, 64, 112, 112), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool", (32, 64, 32, 32), {"kernel_size": 2}),
    ("max_pool", (256, 6, 28, 28), {"kernel_size": 2}),
    ("avg_pool", (8, 64, 56, 56), {"kernel_size": 2}),
    ("avg_pool", (256, 6, 28, 28), {"kernel_size": 2}),
    ("avg_pool", (256, 16, 10, 10), {"kernel_size": 2}),
    ("avg_pool", (8, 512, 7, 7), {"kernel_size": 7}),
    ("batch_norm_relu", (8, 64, 112, 112), {}),
    ("batch_norm_relu", (8, 128, 28, 28), {}),
    ("batch_norm_relu", (8, 512, 7, 7), {}),
    ("batch_norm_relu", (32, 64, 32, 32), {}),
    ("batch_norm_relu", (32, 512, 4, 4), {}),
    ("batch_norm_add_relu", (8, 64, 56, 56), {}),
    ("batch_norm_add_relu", (8, 512, 7, 7), {}),
    ("batch_norm_add_relu", (32, 64, 32, 32), {}),
    ("batch_norm_add_relu", (32, 256, 8, 8), {}),
    ("sigmoid", (256, 6, 28, 28), {}),
    ("sigmoid", (8, 64, 56, 56), {}),
    ("tanh", (256, 6, 28, 28), {}),
    ("tanh", (8, 64, 56, 56), {}),
    ("exp", (256, 6, 28, 28), {}),
    ("exp", (8, 64, 56, 56), {}),
    ("linear", (256, 400), {"out": 120}),
    ("linear", (256, 84), {"out": 10}),
    ("linear", (8, 512), {"out": 1000}),
    ("cross_entropy", (256, 10), {}),
    ("cross_entropy", (8, 1000), {}),
    ("cross_entropy", (256, 1000), {}),
    ("sgd", (), {}),
    ("adam", (), {}),
    *((name, shape, {}) for name, (shape, _) in names.CALLS.items()),
]
COUNTED = {op for op, _, _ in OPS} - set(names.CALLS) | {"sigmoid", "tanh", "exp"}
OP_NAMES = list(dict.fromkeys(op for op, _, _ in OPS))
STEPS = ("cross_entropy", "sgd", "adam")


def read_shapes(name: str) -> list[dict]:
    """The lines of ``shapes/<name>.txt``, or of the file ``name``, as dicts of :data:`FIELDS` and
    ``name``."""
    path = Path(name) if name.endswith(".txt") else SHAPES / f"{name}.txt"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in SHAPES.glob("*.txt")))
        raise ValueError(f"shapes: {path} does not exist; expected a .txt file or one of {known}")
    rows = []
    for i, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        words = line.partition("#")[0].split()
        if words and len(words) != len(FIELDS) + 1:
            raise ValueError(
                f"{path}, line {i}: expected {len(FIELDS)} numbers and a name, got {line.strip()!r}"
            )
        if words:
            rows.append(dict(zip(FIELDS, map(int, words))) | {"name": words[-1]})
    return rows


def spec_of(row: dict) -> ConvSpec:
    """The :class:`~fastconv.spec.ConvSpec` of one line of a shape file."""
    x, w = [row[k] for k in "NCHW"], (row["K"], row["C"] // row["groups"], row["kh"], row["kw"])
    return conv_spec("conv2d", x, w, *(row[k] for k in FIELDS[8:]))


def jobs(suite: str, shapes, passes, batches=(None,), quick: bool = False) -> list[dict]:
    """The jobs of a suite. ``shapes`` names shape files, ops or networks, ``batches`` batch sizes (None:
    listed)."""
    found = []
    if suite == "op":
        if unknown := set(shapes) - set(OP_NAMES):
            raise ValueError(f"op: expected some of {', '.join(OP_NAMES)}, got {', '.join(unknown)}")
        for op, shape, options in [o for o in OPS if o[0] in shapes][:: 3 if quick else 1]:
            for which in ("step",) if op in STEPS else ("fwd", "bwd"):
                name = " ".join(filter(None, [op, "x".join(map(str, shape))]))
                found.append({"set": "ops", "name": name, "op": op, "x": shape, "pass": which, **options})
    elif suite == "net":
        for name in shapes:
            if name not in ALL_NETS:
                raise ValueError(f"net: expected one of {', '.join(ALL_NETS)}, got {name!r}")
            (n, *image), classes = ALL_NETS[name]
            found += [
                {
                    "set": name,
                    "name": f"{name} b{b or n}",
                    "net": name,
                    "x": [b or n, *image],
                    "classes": classes,
                    "pass": p,
                }
                for b in batches
                for p in PASSES["net"]
            ]
    else:
        for name in shapes:
            rows = [
                r | {"N": b or r["N"]} for b in batches for r in read_shapes(name)[: 3 if quick else None]
            ]
            found += [r | {"set": Path(name).stem, "pass": p} for r in rows for p in passes]
    return [{"suite": suite, "count": 1} | j for j in found if j["pass"] in passes]


def flops(job: dict) -> int | None:
    """Floating-point operations of a job's convolutions by direct summation; None where nobody has counted
    them."""
    if job["suite"] == "op" or job.get("net") in user_networks.SHAPES:
        return None
    if job["suite"] == "net":
        rows = read_shapes(job["net"])
        work = sum(spec_of(r).flops * r["count"] for r in rows) * job["x"][0] // rows[0]["N"]
        return work * (3 if job["pass"] == "train" else 1)
    return spec_of(job).flops * (2 if job["pass"] == "bwd" else 1)


def bytes_moved(job: dict) -> int | None:
    """Compulsory float32 traffic: what a pass reads and writes, each array once; None where nobody has
    counted it."""
    if job.get("op") in names.CALLS and job["op"] not in COUNTED:
        return None
    if job["suite"] == "conv":  # each pass reads two of input, weight and output and writes one
        return spec_of(job).bytes() * (2 if job["pass"] == "bwd" else 1)
    op, size, backward = job["op"], prod(job["x"]), job["pass"] == "bwd"
    if op in ("sgd", "adam"):  # parameter, gradient, averages; all but the gradient are written
        return 4 * sum(map(prod, resnet18_parameters())) * (5 if op == "sgd" else 7)
    if op in ("max_pool", "avg_pool"):  # the other way round in the backward pass
        k, s, p = job["kernel_size"], job.get("stride", job["kernel_size"]), job.get("padding", 0)
        return 4 * (size + prod(job["x"][:2]) * prod((n + 2 * p - k) // s + 1 for n in job["x"][2:]))
    if op == "linear":
        rows, columns = job["x"]
        return 4 * (rows * columns + rows * job["out"] + columns * job["out"]) * (2 if backward else 1)
    # x, y; backward gy, x, gx; the residual, its gradient and what the mask is made of
    if op.startswith("batch_norm"):
        return 4 * size * (2 + backward + ("add" in op) * (1 + backward))
    # forward and backward meet in the probabilities
    return 4 * size * (2 + backward + (op == "cross_entropy"))


# ------------------------------------------------------------------------------------------------- numbers
def available_cpus() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def draw(key: str, shape, scale: float = 1.0) -> np.ndarray:
    """Normal float32 numbers that depend on ``key`` and ``shape`` alone."""
    seed = zlib.crc32(f"{key} {list(shape)}".encode())
    return np.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(scale))


def aligned(array: np.ndarray, dtype="float32", channels_last: bool = False) -> np.ndarray:
    """``array`` where an allocator of tensors would have put it: on a 64-byte boundary, on request
    channels-last (rank 4 only); ``dtype`` is for floats."""
    dtype = np.dtype(dtype if array.dtype.kind == "f" else array.dtype)
    order = (0, 2, 3, 1) if channels_last else range(array.ndim)
    room = np.empty(array.size * dtype.itemsize + 64, np.uint8)
    room = room[-room.ctypes.data % 64 :][: array.size * dtype.itemsize].view(dtype)
    found = room.reshape([array.shape[i] for i in order]).transpose(np.argsort(order))
    found[...] = array
    return found


def weight(key: str, shape) -> np.ndarray:
    """A weight that keeps the size of what passes through it (normal, Kaiming's scale)."""
    return draw(key, shape, (2 / prod(shape[1:])) ** 0.5)


def parameter(name: str, shape) -> np.ndarray:
    """A network's parameter: weights as :func:`weight`, normalisation 1 and 0, scales of branches 0.1, biases
    0."""
    if len(shape) > 1:
        return weight(name, shape)
    return np.full(shape, 0.1 if name.endswith("scale") else name.endswith("weight"), np.float32)


def labels(n: int, classes: int) -> np.ndarray:
    """Class numbers."""
    return np.arange(n, dtype=np.int64) * 7 % classes


def resnet18_parameters() -> list[tuple[int, ...]]:
    """Shapes of ResNet-18's parameters (11,689,512 numbers)."""
    found = [(1000, 512), (1000,)]
    for row in read_shapes("resnet18"):
        found += [spec_of(row).w_shape, (row["K"],), (row["K"],)] * row["count"]
    return found
