"""Passes: programs that compute the same with fewer calls. Each is a function of a program, an
engine and what is known of constants.

=========================  =============================================================================
``fold_constants``         calls of constants are computed now
``dead_calls``             what no result needs is left out
``common_calls``           what is computed twice is computed once
``activations``            ``x * sigmoid(x)`` and its like are one op
``padding``                zeros around an image go into the convolution or pooling that reads it
``batch_norm``             scale and shift of a BatchNorm go into the weights before it
``batch_norm_transposed``  ... into those of a transposed convolution
``batch_norm_before``      ... into the weights after it
``channel_scale``          a constant for each channel goes into the weights of the layer before it
``chains``                 small layers one after the other are one op, where the engine has one
``dense``                  a dense layer with constant weights is a 1x1 convolution, whose weights are packed
``max_pool``               maxima without their positions, where nothing reads these
``channel_shuffle``        two arrays joined and shuffled are one op
``epilogues``              the end of a convolution: a sum, then an activation, in its kernel
``transposed``             a transposed convolution, its bias and its activation are one op
``gates``                  products with a gate for each channel go into the 1x1 layer that reads them
``normed``                 a BatchNorm and its ReLU go into the 1x1 layer that reads them
``separable``              1x1, depthwise and 1x1 layers are one op, where that is faster
``prepack``                constant weights in the engine's own form
``concatenations``         channels that are joined are written to their places by the ops that compute them
=========================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ... import backends
from ...checks import one_of
from ..constants import Constants
from ..program import Program
from .activations import activations
from .batch_norm import batch_norm
from .batch_norm_before import batch_norm_before
from .batch_norm_transposed import batch_norm_transposed
from .chains import chains
from .channel_scale import channel_scale
from .channel_shuffle import channel_shuffle
from .common_calls import common_calls
from .concatenations import concatenations
from .dead_calls import dead_calls
from .dense import dense
from .epilogues import epilogues
from .fold_constants import fold_constants
from .gates import gates
from .max_pool import max_pool
from .normed import normed
from .padding import padding
from .prepack import prepack
from .separable import separable
from .transposed import transposed

#: The passes in the order in which they run.
PASSES: dict[str, Callable[[Program, Any, Constants], Program]] = {
    "fold_constants": fold_constants,
    "dead_calls": dead_calls,
    "common_calls": common_calls,
    "activations": activations,
    "padding": padding,
    "batch_norm": batch_norm,
    "batch_norm_transposed": batch_norm_transposed,
    "batch_norm_before": batch_norm_before,
    "channel_scale": channel_scale,
    "chains": chains,
    "dense": dense,
    "max_pool": max_pool,
    "channel_shuffle": channel_shuffle,
    "epilogues": epilogues,
    "transposed": transposed,
    "gates": gates,
    "normed": normed,
    "separable": separable,
    "prepack": prepack,
    "concatenations": concatenations,
}


#: Passes whose result is for one engine only.
FOR_ENGINE = (
    *("chains", "dense", "max_pool", "channel_shuffle", "epilogues", "gates", "normed", "separable"),
    *("transposed", "prepack", "concatenations"),
)


def optimize(
    program: Program, engine: Any = None, constants: Constants | None = None, without: Collection[str] = ()
) -> Program:
    """The program after every pass of :data:`PASSES` except those in ``without``.

    Parameters
    ----------
    program : Program
        Stays as it is. Its constants must not change while the result is in use.
    engine : module, optional
        The engine that the result is for; that of the current backend if None.
    constants : Constants, optional
        Programs that share it share what passes compute of constants.
    without : collection of str
        Names of passes. ``graph.FOR_ENGINE`` are those whose result is for one engine only.

    Raises
    ------
    ValueError
        There is no pass of one of these names.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    >>> program = fc.graph.trace(net, fc.zeros(1, 3, 9, 9))
    >>> [call.op for call in fc.graph.optimize(program).calls]
    ['conv_fwd']
    """
    for name in without:
        one_of("graph.optimize", "without", name, PASSES)
    engine = backends.engine_of("cpu") if engine is None else engine
    constants = Constants() if constants is None else constants
    for name, run in PASSES.items():
        if name not in without:
            program = run(program, engine, constants)
    return program
