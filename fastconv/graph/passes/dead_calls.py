"""Calls that no result needs are left out."""

from __future__ import annotations

from typing import Any

from ..constants import Constants
from ..program import Program
from .rewriting import needed


def dead_calls(program: Program, engine: Any, constants: Constants) -> Program:
    """The program without calls on whose results its output does not depend."""
    return needed(program)
