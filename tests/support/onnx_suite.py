"""ONNX's own node tests: which of them apply to fastconv, and what comes out. As a script, a table of counts.

A test applies if fastconv has all its operators and types. Models in which ONNX has written an operator as a
function of others (``..._expanded``) count for that operator.
"""

from __future__ import annotations

import re
import sys
import traceback
import warnings
from collections import defaultdict
from functools import cache

import numpy as np

from fastconv.onnx.operators import OPERATORS
from fastconv.onnx.package import DTYPES

#: Tests of operators in the table that do not apply: pattern -> why.
LEFT_OUT = {
    r"^test_training_dropout(_default)?(_mask)?$": "NumPy's random numbers",
}
OLDEST = 7


@cache
def cases():
    """Operator -> its tests that apply, and the number of those that do not."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(load_model_tests(kind="node"))
    operator_of = {c.name: c.model.graph.node[0].op_type for c in found if "_expanded" not in c.name}
    apply, left = defaultdict(list), defaultdict(list)
    for case in found:
        operator = operator_of.get(re.sub(r"_expanded(_ver\d+)?$", "", case.name))
        if operator in OPERATORS:
            (left if why_not(case) else apply)[operator].append(case)
    return apply, left


def why_not(case):
    """Why a test does not apply; empty if it does."""
    for pattern, why in LEFT_OUT.items():
        if re.search(pattern, case.name):
            return why
    graph = case.model.graph
    missing = {n.op_type for n in graph.node if n.domain or n.op_type not in OPERATORS}
    if missing:
        return "operators " + ", ".join(sorted(missing))
    for value in (*graph.input, *graph.output):
        kind = value.type
        if not kind.HasField("tensor_type") or kind.tensor_type.elem_type not in DTYPES:
            return "type"
    return ""


def prepared(case):
    """The model of a test, with an opset that fastconv has; the operators are the same in both."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for version in model.opset_import:
        if version.domain == "" and version.version < OLDEST:
            version.version = OLDEST
    return model


def failure(case):
    """What goes wrong in a test; None if nothing does."""
    from onnx import TensorProto, numpy_helper
    from onnx.backend.test.runner import Runner

    from fastconv.onnx import backend

    def array(v):
        return numpy_helper.to_array(v) if isinstance(v, TensorProto) else np.asarray(v)

    try:
        ready = backend.prepare(prepared(case), "CPU")
        for given, want in case.data_sets:
            got = ready.run([array(v) for v in given])
            Runner.assert_similar_outputs([array(v) for v in want], got, case.rtol, case.atol)
    except Exception as e:  # every error is a failed test
        return e
    return None


def main(names):
    """Print the counts and every failure; with names of tests or operators only these, with tracebacks."""
    apply, left = cases()
    passed = total = 0
    for operator in sorted(apply.keys() | left.keys()):
        chosen = [c for c in apply[operator] if not names or operator in names or c.name in names]
        if not chosen:
            continue
        failures = {c.name: e for c in chosen if (e := failure(c)) is not None}
        passed, total = passed + len(chosen) - len(failures), total + len(chosen)
        out = f", {len(left[operator])} do not apply" if left[operator] else ""
        print(f"{operator:24} {len(chosen) - len(failures):3} of {len(chosen):3}{out}", flush=True)
        for name, e in failures.items():
            print(f"    {name}: {type(e).__name__}: {' '.join(str(e).split())[:200]}")
            if names:
                traceback.print_exception(e)
    print(f"{passed} of {total}; {sum(map(len, left.values()))} tests of these operators do not apply")
    silent = sorted(OPERATORS.keys() - apply.keys())
    print("operators without a test that applies:", ", ".join(silent))


if __name__ == "__main__":
    main(sys.argv[1:])
