"""Which tests run without ``--full``: those that are not marked ``full``, or ``full_on`` their backend."""

from __future__ import annotations

import pytest


def full(*values):
    """Parameters of a test that only ``--full`` runs; a tuple is several parameters."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.full)
        for value in values
    ]


def every(values, step):
    """All of ``values``, of which only each ``step``-th runs without ``--full``; a tuple is several
    parameters."""
    return [
        pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=[pytest.mark.full] if i % step else [])
        for i, v in enumerate(values)
    ]
