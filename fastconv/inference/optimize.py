"""``optimize_for_inference``: a copy of a net that computes the same in fewer passes over memory."""

from __future__ import annotations

import copy

from .. import nn
from ..checks import check
from .recorder import InferenceRecorder, undivide


def optimize_for_inference(net: nn.Module) -> nn.Module:
    """A copy of ``net`` for evaluation only that computes the same with fewer passes over memory.

    The net may be written in any way: its calls of the engine are captured as a :class:`graph.Program
    <fastconv.graph.Program>` for each shape of its inputs. BatchNorm is folded into the weights of the layer
    before or after it. The convolution's kernel also computes activations and the sum of a residual block.
    Dropout is left out, and weights are kept in the layout that kernels read. From the second input of a
    shape on, the CPU backend runs the kernels alone, in memory planned once. Other backends run the calls of
    the program.

    Of a net that a program cannot repeat the parts are optimized one by one, and a warning says why, once for
    each net: its ``forward`` reads the numbers of a tensor or draws random numbers, or one of its modules has
    hooks. Parts are the modules in it that have modules in them, such as a ``Sequential``.

    Parameters
    ----------
    net : Module
        Stays as it is, with memory of its own.

    Returns
    -------
    Module
        In evaluation mode. Its results agree with ``net.eval()`` up to rounding and carry no gradients.
        Modules, parameters and ``state_dict`` are those of ``net``; changes of them take effect. Modules in
        it can be called on their own, and then run as they are.

    Raises
    ------
    TypeError
        ``net`` is no Module.
    RuntimeError
        Raised by the returned module, when it is called in training mode or on a tensor that requires a
        gradient.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.optimize_for_inference(fc.models.lenet5())(fc.zeros(1, 1, 28, 28)).shape
    (1, 10)
    """
    check(
        isinstance(net, nn.Module),
        "optimize_for_inference",
        f"expected a Module, got {type(net).__name__}",
        TypeError,
    )
    net = copy.deepcopy(net)
    net.zero_grad()
    net.eval().requires_grad_(False)
    undivide(net)
    own = vars(net).get("forward")
    if isinstance(own, InferenceRecorder):  # of a net that was optimized before
        own = own.own
    vars(net)["forward"] = InferenceRecorder(net, own)
    return net
