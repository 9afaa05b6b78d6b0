"""ONNX's own node tests of every operator that fastconv has.

``PYTHONPATH=.:tests python tests/support/onnx_suite.py`` prints the counts.
"""

from __future__ import annotations

import pytest
from support import onnx_suite
from support.selection import full

from fastconv.onnx.operators import OPERATORS

pytest.importorskip("onnx.checker")

#: Operators without tests in some version of the package.
UNTESTED = {"GlobalLpPool", "HardSwish", "Scatter", "Upsample"}


@pytest.mark.parametrize("operator", full(*sorted(OPERATORS)))
def test_operator(operator):
    """Every test of the operator that applies passes."""
    found = onnx_suite.cases()[0][operator]
    assert found or operator in UNTESTED
    failures = {case.name: e for case in found if (e := onnx_suite.failure(case)) is not None}
    assert failures == {}
