"""The activation at the end of a convolution: any row of ``common/unary.py``.

    tile    y = sum + bias + residual, limited for ReLU and clamp      in registers
    rows    y = op(y)                                                  any other op, where the tile has just
                                                                       written

The rows are still in the first-level cache, so an op costs its arithmetic and no pass over memory.

A kernel gets one number: 0 (nothing follows), :data:`RELU`, or the address of a record, which has the limits
of the results, and, for any other op, a compiled function and the op's two numbers.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.backends.common.unary import UNARY

from ..codegen import emitter
from ..codegen.emitter import call, read_arguments
from ..codegen.gemm_tile import ONE_TAP
from ..codegen.jit import body, c_function
from ..codegen.record import make_record, record_type
from ..ops.pointwise import PERIODIC, formulas, inline

RELU = 1
#: Ops that only limit their operand, to the range from p to q.
LIMITS = "clamp", "hardtanh"
#: ``low``, ``high``: the limits, in the type of the elements. ``function``: of :func:`_rows_address`, or 0.
#: ``numbers``: address of p and q, in the type of the elements.
ACTIVATION = record_type(low=1, high=1, function=1, numbers=1)
_RECORD = np.empty(0, ACTIVATION)
#: Ops that a convolution can end with. The formulas of sine and cosine hold for small numbers only.
CONV_ACTIVATIONS = frozenset(UNARY) - frozenset(PERIODIC) - {n for n, r in UNARY.items() if r.kind == "bool"}


@functools.cache
def _rows_address(name: str, real) -> int:
    """Address of the compiled function that :func:`activate` runs."""
    space = {
        "formula": inline(formulas(real)[name].forward),
        "view1d": emitter.view1d,
        "like": np.zeros(1, real),
        "table": ONE_TAP,
    }
    lines = [
        *read_arguments("rows_of_op", "y, rows, step, columns, places, numbers"),
        "    pair = view1d(numbers, 2, like)",
        "    p, q = pair[0], pair[1]",
        f"    if not places and step == columns * {np.dtype(real).itemsize}:",
        "        rows, columns = 1, rows * columns",
        "    starts = view1d(places, rows, table)",
        "    for r in range(rows):",
        "        start = y + starts[r] if places else y + r * step",
        "        row = view1d(start, columns, like)",
        "        for c in range(columns):",
        "            row[c] = formula(row[c], p, q)",
    ]
    exec("\n".join(lines), space)
    return c_function(space["rows_of_op"], f"activation.{name}.{np.dtype(real)}")


@functools.cache  # what is in use by address must stay
def _record(name: str, p: float, q: float, real) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.array([p, q], real)
    function = 0 if name in LIMITS else _rows_address(name, real)
    record = make_record(ACTIVATION, low=0, high=0, function=function, numbers=numbers.ctypes.data)
    limits = record.view(real)[:: 8 // numbers.itemsize]
    limits[:2] = (p, q) if name in LIMITS else (-np.inf, np.inf)
    return record, numbers


def activation_argument(activation: str | tuple[str, float, float] | None, dtype: np.dtype) -> int:
    """The number that stands for ``activation`` in the arguments of a kernel."""
    if activation is None:
        return 0
    name, p, q = (activation, 0.0, 0.0) if isinstance(activation, str) else activation
    return RELU if name == "relu" else _record(name, float(p), float(q), dtype.type)[0].ctypes.data


@body(inline=True)
def activate(activation, y, rows, step, columns, places=0):
    """Apply the op to ``rows`` runs of ``columns`` elements, if it is not one that tiles apply.

    The runs begin ``step`` bytes apart from address ``y`` on, or, where ``places`` is the address of a table
    of addresses, ``y`` bytes behind each of these.
    """
    if activation > RELU:
        record = emitter.view1d(activation, 1, _RECORD)[0]
        if record.function:
            call(record.function, (y, rows, step, columns, places, record.numbers))
