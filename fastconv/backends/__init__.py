"""Engines (``numpy``, ``cpu``, ``cuda``), their contract, and the switch between them."""

from .contract import BINARY, CONTRACT, OPTIONAL, PAIR_LOSSES, REDUCTIONS, TERNARY, UNARY
from .registry import (
    BACKENDS,
    HOST_BACKENDS,
    backend,
    engine_of,
    get_backend,
    load,
    observer,
    recording,
    set_backend,
)

__all__ = [
    "BACKENDS",
    "BINARY",
    "CONTRACT",
    "HOST_BACKENDS",
    "OPTIONAL",
    "PAIR_LOSSES",
    "REDUCTIONS",
    "TERNARY",
    "UNARY",
    "backend",
    "engine_of",
    "get_backend",
    "load",
    "observer",
    "recording",
    "set_backend",
]
