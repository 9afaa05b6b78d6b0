"""Which tests run without ``--full``: those that are not marked ``full``."""

from __future__ import annotations

import pytest


def full(*values):
    """Parameters of a test that only ``--full`` runs."""
    return [pytest.param(value, marks=pytest.mark.full) for value in values]
