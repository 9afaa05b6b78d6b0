"""Activations that are written as several calls become one op, which a convolution can then compute.

::

    x * sigmoid(x)                         silu
    clamp(x + 3, 0, 6) / 6                 hardsigmoid; also clamp(x / 6 + 0.5, 0, 1)
    x * hardsigmoid(x)                     hardswish; also x * clamp(x + 3, 0, 6) / 6
    x * tanh(softplus(x))                  mish
    0.5 * x * (1 + erf(x / sqrt(2)))       gelu

Factors and summands may come in any order, and a division by a number may be a product. A product is read as
a number and a set of factors, so ``(0.5 * x) * g`` and ``x * (0.5 * g)`` are the same. Each result inside of
an expression must have no other reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose, prod, sqrt
from typing import Any

from ..constants import Constants
from ..program import Call, Program, Value
from .norm import host
from .rewriting import Rewriting


def activations(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with one call in the place of each such expression."""
    reading = _Reading(program, engine)
    for call in program.calls:
        if not call.inputs or not isinstance(call.result, Value):
            continue
        if (found := reading.activation(call)) is not None:
            name, x = found
            if x.shape == call.result.shape and x.dtype == call.result.dtype and x.dtype.kind == "f":
                reading.work.replace(call, Call("unary_fwd", (name, x, None, None), call.result))
    return reading.work.done()


class _Reading:
    """The calls of a program as expressions."""

    def __init__(self, program: Program, engine: Any) -> None:
        self.work, self.engine = Rewriting(program), engine

    def activation(self, call: Call) -> tuple[str, Value] | None:
        """The activation that ``call`` ends, and what it is computed of; None for anything else."""
        if call.op == "unary_fwd":
            x = self._sixth_and_half(call) if _clamps(call, 0, 1) else None
            return None if x is None else ("hardsigmoid", x)
        if call.op != "binary_fwd" or call.args[0] not in ("mul", "div"):
            return None
        number, factors = self._product(call)
        if len(factors) == 1 and isclose(number, 1 / 6, rel_tol=1e-6):
            x = self._clamped_sum(factors[0])
            return None if x is None else ("hardsigmoid", x)
        if len(factors) == 2:
            for x, gate in (factors, factors[::-1]):
                if (name := self._gate(number, x, gate)) is not None:
                    return name, x
        return None

    def _gate(self, number: float, x: Value, gate: Value) -> str | None:
        """The activation that ``number * x * gate`` is."""
        inner = self.work.only_reader(gate)
        if inner is None:
            return None
        if number == 1:
            if self._is_unary(inner, "sigmoid", x):
                return "silu"
            if self._is_unary(inner, "hardsigmoid", x):
                return "hardswish"
            if self._is_unary(inner, "tanh"):
                softplus = self.work.only_reader(inner.args[1])
                if softplus is not None and self._is_unary(softplus, "softplus", x):
                    return "mish" if softplus.args[2:] == (1, 20) else None
        if isclose(number, 1 / 6, rel_tol=1e-6) and self._clamped_sum(gate) is x:
            return "hardswish"
        if number == 0.5 and self._is_one_plus_erf(inner, x):
            return "gelu"
        return None

    def _is_unary(self, call: Call, name: str, x: Value | None = None) -> bool:
        """Whether ``call`` is the op ``name``, of ``x`` if that is given."""
        return call.op == "unary_fwd" and call.args[0] == name and (x is None or call.args[1] is x)

    def _is_one_plus_erf(self, call: Call, x: Value) -> bool:
        for number, v in self._sums(call):
            erf = self.work.only_reader(v)
            if number == 1 and erf is not None and self._is_unary(erf, "erf"):
                inner = self.work.only_reader(erf.args[1])
                if inner is not None and inner.op == "binary_fwd" and inner.args[0] in ("mul", "div"):
                    number, factors = self._product(inner)
                    if factors == [x] and isclose(number, sqrt(0.5), rel_tol=1e-6):
                        return True
        return False

    def _clamped_sum(self, v: Value) -> Value | None:
        """x if ``v`` is ``clamp(x + 3, 0, 6)``."""
        call = self.work.only_reader(v)
        if call is None or not _clamps(call, 0, 6):
            return None
        inner = self.work.only_reader(call.args[1])
        return next((x for number, x in self._sums(inner) if number == 3), None)

    def _sixth_and_half(self, call: Call) -> Value | None:
        """x if ``call`` is a function of ``x / 6 + 0.5``."""
        for number, v in self._sums(self.work.only_reader(call.args[1])):
            inner = self.work.only_reader(v)
            if number == 0.5 and inner is not None and inner.op == "binary_fwd":
                factor, factors = self._product(inner)
                if len(factors) == 1 and isclose(factor, 1 / 6, rel_tol=1e-6):
                    return factors[0]
        return None

    # ------------------------------------------------------------------------------------------ numbers
    def _sums(self, call: Call | None) -> Iterator[tuple[float, Value]]:
        """The number and the other operand if ``call`` adds a number."""
        if call is not None and call.op == "binary_fwd" and call.args[0] == "add":
            for a, b in (call.args[1:], call.args[:0:-1]):
                if (number := self._number(a)) is not None and isinstance(b, Value):
                    yield number, b

    def _product(self, call: Call) -> tuple[float, list[Value]]:
        """``call`` as a number and the factors that it is multiplied by; inner products are opened."""
        name, a, b = call.args
        if name not in ("mul", "div") or name == "div" and self._number(b) in (None, 0.0):
            return 1.0, [call.result]
        number, factors = 1.0, []
        for operand, inverse in ((a, False), (b, name == "div")):
            if (n := self._number(operand)) is not None:
                number = number / n if inverse else number * n
                continue
            inner = self.work.only_reader(operand)
            if inner is not None and inner.op == "binary_fwd" and inner.result.shape == call.result.shape:
                n, more = self._product(inner)
                number, factors = number * n, factors + more
            else:
                factors.append(operand)
        return number, factors

    def _number(self, operand: Any) -> float | None:
        """The operand as a number, if it is one or a constant of one element."""
        if isinstance(operand, (int, float)):
            return float(operand)
        if isinstance(operand, Value) and operand.constant is not None and prod(operand.shape) == 1:
            return float(host(self.engine, operand).reshape(()))
        return None


def _clamps(call: Call, low: float, high: float) -> bool:
    """Whether ``call`` limits its argument to this range."""
    return (
        call.op == "unary_fwd"
        and call.args[0] in ("clamp", "hardtanh")
        and tuple(call.args[2:]) == (low, high)
    )
