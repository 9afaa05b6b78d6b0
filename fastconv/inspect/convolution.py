"""Which convolution algorithm runs and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backends
from ..backends import select
from ..checks import shape_str
from ..spec import ConvSpec, conv_spec
from ..table import Shown, Table
from ..typing import DType, Ints, Padding


@dataclass(frozen=True, repr=False)
class ConvExplanation(Shown):
    """What :func:`explain_conv` found; shown as a table.

    Attributes
    ----------
    spec : ConvSpec
        Geometry, ``macs`` (multiply-adds), ``flops``.
    algorithms : dict
        Per algorithm: ``applies`` (bool), ``why_not`` (str or None), ``macs``, ``flops`` and ``bytes``
        (compulsory traffic) of a forward pass, ``workspace`` (scratch bytes) and ``estimate`` (seconds) per
        pass.
    chosen : dict
        Pass (``"fwd"``, ``"bwd_data"``, ``"bwd_weight"``) -> the algorithm that runs.
    reason : str
    """

    spec: ConvSpec
    backend: str
    dtype: str
    algorithms: dict[str, dict[str, Any]]
    chosen: dict[str, str]
    reason: str

    def table(self) -> Table:
        """The algorithms as a table; ``print`` and notebooks show it."""
        s = self.spec
        rows: list[tuple[str, ...]] = []
        for name, a in self.algorithms.items():
            if not a["applies"]:
                rows.append((name, "", "", "", f"does not apply: {a['why_not']}"))
                continue
            for which in select.PASSES:
                rows.append(
                    (
                        name,
                        which,
                        f"{a['estimate'][which] * 1e3:.3f} ms",
                        f"{a['workspace'][which]:,} B",
                        "<- runs" if self.chosen[which] == name else "",
                    )
                )
        before = (
            f"conv{s.ndim}d {shape_str(s.x_shape)} * {shape_str(s.w_shape)} -> {shape_str(s.y_shape)}  "
            f"{self.dtype}, backend {self.backend}\n{s.macs:,} multiply-adds = {s.flops:,} FLOPs, "
            f"{s.bytes(np.dtype(self.dtype).itemsize):,} bytes compulsory"
        )
        return Table(("algorithm", "pass", "estimate", "workspace", ""), rows, "llrrl", before, self.reason)


def explain_conv(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    dtype: DType = "float32",
    algorithm: str | None = None,
) -> ConvExplanation:
    """Which algorithm each pass of a convolution takes on the current backend, and what the others would
    cost.

    Parameters
    ----------
    x_shape, w_shape : tuple of int
        ``N x C_in x spatial`` and ``C_out x C_in/groups x spatial``; their rank says 1-D, 2-D or 3-D.
    stride, padding, dilation, groups
        As in ``F.conv2d``.
    dtype : str
    algorithm : str, optional
        Forced choice, as the keyword of ``F.conv2d``.

    Returns
    -------
    ConvExplanation

    Examples
    --------
    >>> import fastconv as fc
    >>> print(fc.explain_conv((8, 64, 56, 56), (64, 64, 3, 3), padding=1, algorithm="direct"))
    conv2d 8x64x56x56 * 64x64x3x3 -> 8x64x56x56  float32, backend ...
    direct     fwd ... <- runs
    ...
    """
    x_shape, w_shape = (tuple(getattr(s, "shape", s)) for s in (x_shape, w_shape))  # arrays say their own
    spec = conv_spec(f"conv{len(w_shape) - 2}d", x_shape, w_shape, stride, padding, dilation, groups)
    engine, dtype = backends.load(backends.get_backend()), np.dtype(dtype)
    name = select.forced(algorithm)
    found: dict[str, dict[str, Any]] = {}
    chosen: dict[str, str] = {}
    for a in engine.CONV_ALGORITHMS:
        why_not = a.refuses(spec, dtype)
        found[a.name] = {
            "applies": why_not is None,
            "why_not": why_not,
            "macs": spec.macs,
            "flops": spec.flops,
            "bytes": spec.bytes(dtype.itemsize),
            "workspace": {w: int(a.workspace(spec, w, dtype)) for w in select.PASSES}
            if why_not is None
            else None,
            "estimate": {w: a.cost(spec, w, dtype) for w in select.PASSES} if why_not is None else None,
        }
    for which in select.PASSES:
        chosen[which] = select.choose(engine.CONV_ALGORITHMS, spec, which, dtype, name).name
    reason = "auto: the lowest estimate of those that apply"
    if name:
        runs = chosen["fwd"]
        reason = f"forced: {name}" if runs == name else f"forced: {name}, which is {runs} on this backend"
    return ConvExplanation(spec, backends.get_backend(), str(dtype), found, chosen, reason)
