"""Passes: programs that compute the same with fewer calls. Each is a function of a program, an
engine and what is known of constants.

====================  ==================================================================================
``fold_constants``    calls of constants are computed now
``batch_norm``        scale and shift of a BatchNorm go into the weights before it
``dense``             a dense layer with constant weights is a 1x1 convolution, whose weights can be packed
``max_pool``          maxima without their positions, where nothing reads these
``channel_shuffle``   two arrays joined and shuffled are one op
``epilogues``         the end of a convolution: a sum, then an activation, in its kernel
``chains``            small layers one after the other are one op, where the engine has one
``gates``             products with a gate for each channel go into the 1x1 layer that reads them
``separable``         1x1, depthwise and 1x1 layers are one op, where that is faster
``prepack``           constant weights in the engine's own form
``dead_calls``        what no result needs is left out
====================  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ..constants import Constants
from ..program import Program
from .batch_norm import batch_norm
from .chains import chains
from .channel_shuffle import channel_shuffle
from .dead_calls import dead_calls
from .dense import dense
from .epilogues import epilogues
from .fold_constants import fold_constants
from .gates import gates
from .max_pool import max_pool
from .prepack import prepack
from .separable import separable

#: The passes in the order in which they run.
PASSES: dict[str, Callable[[Program, Any, Constants], Program]] = {
    "fold_constants": fold_constants,
    "dead_calls": dead_calls,
    "batch_norm": batch_norm,
    "chains": chains,
    "dense": dense,
    "max_pool": max_pool,
    "channel_shuffle": channel_shuffle,
    "epilogues": epilogues,
    "gates": gates,
    "separable": separable,
    "prepack": prepack,
}


def optimize(
    program: Program, engine: Any, constants: Constants | None = None, without: Collection[str] = ()
) -> Program:
    """The program after every pass of :data:`PASSES` except those in ``without``.

    Programs that share ``constants`` share what passes compute of them.
    """
    constants = Constants() if constants is None else constants
    for name, run in PASSES.items():
        if name not in without:
            program = run(program, engine, constants)
    return program
