"""Where a training step spends its time: per layer, forward and backward."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from time import perf_counter
from typing import Any, BinaryIO

import numpy as np

from .. import backends, random
from ..backends import select, settings
from ..backends.contract import Engine
from ..checks import check, shape_str
from ..creation import as_tensor, ones
from ..inference.recorder import InferenceRecorder
from ..nn import Module
from ..spec import ConvSpec
from ..table import Shown, Table
from ..tensor import Tensor
from ..typing import PathLike, TensorLike
from .observe import VIEWS, Observer, kind, macs

PASSES = ("forward", "backward")


@dataclass
class LayerProfile:
    """One call of a layer.

    Attributes
    ----------
    name, type : str
        Dotted name and class.
    output_shape : tuple of int
    seconds : dict
        Time inside the engine for ``"forward"`` and ``"backward"``, the median over the repetitions.
    flops : dict
        Operations of convolutions and matrix products, two per multiply-add. Winograd counts as many as
        direct summation.
    bytes : dict
        Arguments and results of every op. So many bytes cross the memory bus if no cache helps.
    algorithms : dict
        For a convolution: pass (``"fwd"``, ``"bwd_data"``, ``"bwd_weight"``) -> algorithm.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] = ()
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PASSES, 0.0))
    flops: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PASSES, 0))
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PASSES, 0))
    algorithms: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def total(self) -> float:
        """Seconds of both passes."""
        return sum(self.seconds.values())

    @property
    def rate(self) -> float | None:
        """FLOP/s over both passes; None for a layer without multiply-adds."""
        return sum(self.flops.values()) / self.total if any(self.flops.values()) and self.total else None

    @property
    def algorithm(self) -> str:
        """One name if all passes ran the same algorithm, else ``fwd/bwd_data/bwd_weight``.

        A dash stands for a pass that was not needed.
        """
        used = set(self.algorithms.values())
        return (
            "/".join(self.algorithms.get(p, "-") for p in select.PASSES) if len(used) > 1 else "".join(used)
        )


@dataclass(frozen=True, repr=False)
class Profile(Shown):
    """What :func:`profile` measured; shown as a table.

    Attributes
    ----------
    name : str
        The network's class.
    input_shape : tuple of int
    backend : str
    threads : int
    layers : list of LayerProfile
        In the order of the calls.
    seconds : dict
        Median time of the whole ``"forward"`` and ``"backward"`` pass with the profiler. The part that is not
        in the layers is Python: the tape, the checks of shapes, the calls.
    plain_seconds : float
        Both passes without the profiler; steps with and without it take turns.
    peak : float or None
        FLOP/s, on all threads, of a kernel that works in registers only; None on a GPU.
    """

    name: str
    input_shape: tuple[int, ...]
    backend: str
    threads: int
    layers: list[LayerProfile]
    seconds: dict[str, float]
    plain_seconds: float
    peak: float | None

    @property
    def overhead(self) -> float:
        """The cost of the profiler: the time of a step with it, divided by that of a step without, less 1."""
        return sum(self.seconds.values()) / self.plain_seconds - 1

    def share(self, layer: LayerProfile) -> float | None:
        """A layer's FLOP/s divided by ``peak``; Winograd may exceed 1, as it needs fewer operations."""
        return layer.rate / self.peak if layer.rate and self.peak else None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for ``json``."""
        layers = [
            {
                **asdict(x),
                "algorithm": x.algorithm,
                "flops_per_second": x.rate,
                "share_of_peak": self.share(x),
            }
            for x in self.layers
        ]
        return {**asdict(self), "layers": layers, "overhead": self.overhead}

    def table(self) -> Table:
        """The layers as a table; ``print`` and notebooks show it."""
        head = (
            "layer",
            "type",
            "output shape",
            "algorithm",
            "forward ms",
            "backward ms",
            "share",
            "GFLOP/s",
            "of peak",
            "MB",
            "GB/s",
        )
        rows: list[tuple[str, ...]] = []
        total = sum(self.seconds.values())
        for x in self.layers:
            share, moved = self.share(x), sum(x.bytes.values())
            rows.append(
                (
                    x.name or "(top)",
                    x.type,
                    shape_str(x.output_shape),
                    x.algorithm,
                    *(f"{x.seconds[p] * 1e3:.3f}" for p in PASSES),
                    f"{x.total / total:.1%}",
                    "" if x.rate is None else f"{x.rate / 1e9:.1f}",
                    "" if share is None else f"{share:.0%}",
                    f"{moved / 1e6:.1f}",
                    f"{moved / x.total / 1e9:.1f}" if x.total else "",
                )
            )
        inside = {p: sum(x.seconds[p] for x in self.layers) for p in PASSES}
        rows.append(
            (
                "outside the layers",
                "",
                "",
                "",
                *(f"{(self.seconds[p] - inside[p]) * 1e3:.3f}" for p in PASSES),
                f"{1 - sum(inside.values()) / total:.1%}",
                *[""] * 4,
            )
        )
        peak = "" if self.peak is None else f", peak {self.peak / 1e9:.0f} GFLOP/s"
        return Table(
            head,
            rows,
            "llll" + "r" * 7,
            f"{self.name}, input {shape_str(self.input_shape)}, {self.backend} backend, "
            f"{self.threads} threads{peak}",
            f"forward {self.seconds['forward'] * 1e3:.3f} ms + "
            f"backward {self.seconds['backward'] * 1e3:.3f} ms; "
            f"without the profiler {self.plain_seconds * 1e3:.3f} ms (overhead {self.overhead:.1%})",
        )

    def plot(self, path: PathLike | BinaryIO) -> None:
        """Draw the layers' times as bars, in a PNG; ImportError without matplotlib."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError('Profile.plot needs matplotlib: pip install "fastconv[train]"') from None
        figure: Any = Figure(figsize=(9, 1.2 + 0.22 * len(self.layers)), layout="constrained")
        ax, at = figure.subplots(), np.arange(len(self.layers))
        start = np.zeros(len(self.layers))
        for which, color in zip(PASSES, ("tab:blue", "tab:orange")):
            width = np.array([x.seconds[which] * 1e3 for x in self.layers])
            ax.barh(at, width, left=start, color=color, label=which)
            start += width
        ax.set_yticks(
            at, [" ".join(filter(None, (x.name, x.type, x.algorithm))) for x in self.layers], fontsize=7
        )
        ax.invert_yaxis()
        ax.set(
            xlabel="ms",
            title=f"{self.name}, input {shape_str(self.input_shape)}, {self.backend}, {self.threads} threads",
        )
        ax.legend()
        figure.savefig(path, dpi=120)


def profile(net: Module, x: TensorLike, repeat: int = 5) -> Profile:
    """Time a network's forward and backward pass layer by layer.

    Layers run one at a time, also where a step without the profiler merges several into one kernel. Of a net
    from :func:`fastconv.optimize_for_inference`, a convolution or dense layer is a row together with what its
    kernel computes too: ``Conv2d+BatchNorm2d+ReLU``. Running statistics, gradients and the random generator
    are restored at the end.

    Parameters
    ----------
    net : Module
        It runs in the mode, training or evaluation, that it is in.
    x : Tensor or array
        The input, batch included.
    repeat : int
        Number of steps whose median is taken. One more step runs before them, because kernels may compile.

    Returns
    -------
    Profile
        A table (``print``), ``to_dict()`` and ``plot(path)``.

    Raises
    ------
    ValueError, TypeError
        ``repeat`` is less than 1, ``net`` is no module, or a layer refuses ``x``.

    Notes
    -----
    Measuring costs about 4 microseconds per op: on 2 cores of a Zen 4 that was 2 % of LeNet's step on 256
    images, 8 % on one image, and less than the noise in ResNet-18. ``Profile.overhead`` is the cost in this
    run, including that of not merging layers.

    Examples
    --------
    >>> import fastconv as fc
    >>> profile = fc.profile(fc.nn.Linear(3, 2), fc.zeros(4, 3), repeat=1)
    >>> [layer["type"] for layer in profile.to_dict()["layers"]]
    ['Linear']
    """
    is_module = isinstance(net, Module)  # pyright: ignore[reportUnnecessaryIsInstance]
    check(is_module, "profile", f"expected an nn.Module, got {type(net).__name__}", TypeError)
    check(repeat >= 1, "profile", f"repeat must be at least 1, got {repeat}")
    images, timer = as_tensor(x), _Timer(net)
    plain: list[dict[str, float]] = []
    observed: list[dict[str, float]] = []
    with _as_it_was(net):
        for i in range(repeat + 1):
            without, with_timer = _step(net, images), _step(net, images, timer)
            if i:
                plain.append(without)
                observed.append(with_timer)
    layers = [row for (m, _), row in timer.rows.items() if not any(m.children()) or any(row.bytes.values())]
    for row in layers:
        for which in PASSES:
            row.seconds[which] = median(times[id(row), which] for times in timer.passes[1:])
    seconds = {which: median(t[which] for t in observed) for which in PASSES}
    name, threads = backends.get_backend(), settings.get_num_threads()
    return Profile(
        type(net).__name__,
        images.shape,
        name,
        threads,
        layers,
        seconds,
        median(sum(t.values()) for t in plain),
        _peak(images, threads),
    )


def _peak(x: Tensor, threads: int) -> float | None:
    """FLOP/s that the processor can reach."""
    if x.device != "cpu":
        return None
    from ..backends.cpu.runtime import machine

    return machine.peak(threads, str(x.dtype))


@contextlib.contextmanager
def _as_it_was(net: Module) -> Generator[None, None, None]:
    """Undo at the end what training steps change."""
    grads = [(p, p.grad) for p in net.parameters()]
    buffers = [(b, b.memory.version, b.detach().clone()) for b in net.buffers()]
    state = random.get_state()
    try:
        yield
    finally:
        for p, grad in grads:
            p.grad = grad
        for b, version, value in buffers:
            if b.memory.version != version:  # a buffer that was only read keeps its version
                b.copy_(value)
        random.set_state(state)


def _step(net: Module, x: Tensor, timer: _Timer | None = None) -> dict[str, float]:
    """Seconds of a forward pass, and of the backward pass if a gradient is needed."""
    net.zero_grad()
    with timer or contextlib.nullcontext():
        start = perf_counter()
        y = net(x)
        seconds = {"forward": perf_counter() - start, "backward": 0.0}
        check(
            isinstance(y, Tensor),
            "profile",
            f"expected net(x) to be a Tensor, got {type(y).__name__}",
            TypeError,
        )
        if y.requires_grad:
            gy = ones(y.shape, dtype=y.dtype, device=y.device)
            if timer:
                timer.which = "backward"
            start = perf_counter()
            y.backward(gy)
            seconds["backward"] = perf_counter() - start
    return seconds


class _Timer(Observer):
    """Sums up the seconds of each step, by row and direction; in the first step it also counts work."""

    def __init__(self, net: Module):
        super().__init__(net)
        self.passes: list[dict[tuple[int, str], float]] = []
        self.which = "forward"

    def __enter__(self) -> _Timer:
        self.restart()
        self.passes.append(defaultdict(float))
        self.which = "forward"
        return super().__enter__()

    def forward_of(self, module: Module) -> Callable[..., Any]:
        forward = module.forward
        return forward.by_layers if isinstance(forward, InferenceRecorder) else forward

    def row(self, name: str, module: Module) -> LayerProfile:
        return LayerProfile(name, kind(module))

    def returned(self, row: LayerProfile, module: Module, out: Any) -> None:
        row.output_shape = getattr(out, "shape", ())

    def run(
        self,
        row: LayerProfile | None,
        engine: Engine,
        op: str,
        args: tuple[Any, ...],
        options: dict[str, Any],
    ) -> Any:
        function = getattr(engine, op)
        start = perf_counter()
        out = function(*args, **options)
        seconds = perf_counter() - start
        if row is not None:
            self.passes[-1][id(row), self.which] += seconds
            if len(self.passes) == 1 and op not in VIEWS:
                self._count(row, engine, op, args, options, out)
        return out

    def _count(
        self,
        row: LayerProfile,
        engine: Engine,
        op: str,
        args: tuple[Any, ...],
        options: Mapping[str, Any],
        out: Any,
    ) -> None:
        """Add an op's bytes, operations and algorithm to its row."""
        arrays: list[Any] = [*args, *options.values(), *(out if isinstance(out, tuple) else (out,))]
        row.bytes[self.which] += sum(getattr(a, "nbytes", 0) for a in arrays)
        row.flops[self.which] += 2 * macs(op, args)
        which = op.removeprefix("conv_")
        if which in select.PASSES:
            at = next(i for i, a in enumerate(args) if isinstance(a, ConvSpec))
            forced = args[at + 1] if len(args) > at + 1 else options.get("algorithm")
            row.algorithms[which] = select.choose(
                engine.CONV_ALGORITHMS, args[at], which, args[0].dtype, forced
            ).name
