"""Small layers one after the other are one op, where the engine has a plan for them.

The steps are those of ``fused_chain_plan`` in ``backends/contract/optional.py``::

    calls    conv_fwd   unary_fwd relu   max_pool_fwd   reshape N, rest   linear_fwd
    steps    conv       relu             max_pool       flatten           linear
"""

from __future__ import annotations

from math import prod
from typing import Any

from ...spec import conv_spec
from ..constants import Constants
from ..program import Call, Program, Value
from .convolution import Convolution

ACTIVATIONS = ("relu", "sigmoid", "tanh")


def chains(program: Program, engine: Any, constants: Constants) -> Program:
    """The program with each such run of calls as one call of ``fused_chain_fwd``."""
    if not hasattr(engine, "fused_chain_plan"):
        return program
    users = program.users()
    calls: list[Call] = []
    at = 0
    while at < len(program.calls):
        steps: list[Any] = []
        ends: list[tuple[int, int]] = []  # of each call: how many steps, up to its end; its place
        params: list[Value | None] = []
        i, last = at, None
        while i < len(program.calls):
            call = program.calls[i]
            found = _step(call)
            if found is None or last is not None and (call.inputs[0] is not last or users[last] != [call]):
                break
            steps += found[0]
            params += found[1]
            ends.append((len(steps), i))
            last = found[2]
            i += 1
        source = program.calls[at].inputs[0] if len(steps) > 1 else None
        plan = None
        if source is not None and source.ndim == 4:
            plan = engine.fused_chain_plan(tuple(steps), source.dtype)
        taken = [place for count, place in ends if plan is not None and count <= plan.count]
        if len(taken) < 2:
            calls.append(program.calls[at])
            at += 1
            continue
        first, end = program.calls[at], program.calls[taken[-1]]
        count = sum(_weights(program.calls[k]) for k in range(at, taken[-1] + 1))
        weights, biases = tuple(params[: 2 * count : 2]), tuple(params[1 : 2 * count : 2])
        result = end.result[0] if isinstance(end.result, tuple) else end.result
        calls.append(Call("fused_chain_fwd", (plan, first.inputs[0], weights, biases, False), (result, None)))
        at = taken[-1] + 1
    return Program(program.inputs, calls, program.output)


def _weights(call: Call) -> int:
    return int(call.op in ("conv_fwd", "linear_fwd"))


def _step(call: Call) -> tuple[list[Any], list[Value | None], Value] | None:
    """The steps of a call, its weight and bias, and what the next call of a chain must read."""
    y = call.result
    if (conv := Convolution.of(call)) is not None:
        alone = conv.algorithm is None and conv.residual is None and conv.activation is None
        if not alone or not conv.constant or conv.x.dtype != conv.weight.dtype:
            return None
        return [("conv", conv.spec)], [conv.weight, conv.bias], y
    if call.op == "linear_fwd":
        x, w, b = call.args
        if w.constant is None or b is not None and b.constant is None or x.dtype != w.dtype:
            return None
        spec = conv_spec("linear", (*x.shape, 1, 1), (*w.shape, 1, 1))
        return [("linear", spec)], [w, b], y
    if call.op == "unary_fwd" and call.args[0] in ACTIVATIONS:
        return [(call.args[0], None)], [], y
    if call.op == "avg_pool_fwd":
        return [("avg_pool", call.args[1])], [], y
    if call.op == "max_pool_fwd":
        return [("max_pool", call.args[1])], [], y[0]
    if call.op == "reshape":
        x, shape = call.args
        if x.ndim == 4 and tuple(shape) == (x.shape[0], prod(x.shape[1:])):
            return [("flatten", None)], [], y
    return None
