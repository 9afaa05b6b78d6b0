"""``optimize_for_inference``: a copy of a net whose modules compute the same in fewer passes over memory."""

from __future__ import annotations

import copy

from .. import nn
from ..checks import check
from .chains import Alone, Chain, Residual, is_residual
from .forward import computes_as, given
from .fused import CONVS
from .in_sequence import link
from .recorder import InferenceRecorder


def optimize_for_inference(net: nn.Module) -> nn.Module:
    """A copy of ``net`` for evaluation only that computes the same with fewer passes over memory.

    BatchNorm is folded into the convolution or dense layer before it. The convolution's kernel also computes
    ReLU and the sum of a residual block. Dropout is left out, and weights are kept in the layout that kernels
    read. This is done in ``Sequential``, in the blocks of :mod:`fastconv.models`, and for the tuples of names
    in a module's attribute ``in_sequence``, which says which of its children ``forward`` calls directly one
    after the other::

        class Stem(nn.Module):
            in_sequence = (("conv", "norm"),)

            def forward(self, x):
                return self.pool(self.norm(self.conv(x)))

    Every module stays in its place with its own parameters and computes what it computed, whoever calls it;
    the fused layers belong to the module that calls them. From the second input of a shape on, the CPU
    backend runs the kernels alone, in memory planned once.

    Parameters
    ----------
    net : Module
        Stays as it is, with memory of its own.

    Returns
    -------
    Module
        In evaluation mode. Its results agree with ``net.eval()`` up to rounding and carry no gradients.
        Modules, parameters and ``state_dict`` are those of ``net``; changes of them take effect.

    Raises
    ------
    TypeError
        ``net`` is no Module.
    ValueError
        An ``in_sequence`` names no child.
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
    modules = list(net.modules())
    for m in modules:
        own = given(m)
        vars(m).pop("forward", None)  # of a net that was optimized before
        if own is not None:
            vars(m)["forward"] = own
    for m in modules:
        if computes_as(m, *CONVS):
            vars(m)["forward"] = Alone(m)
        elif computes_as(m, nn.Sequential):
            vars(m)["forward"] = Chain(m)
        elif is_residual(m):
            vars(m)["forward"] = Residual(m)
    for m in modules:
        link(m)
    vars(net)["forward"] = InferenceRecorder(net, vars(net).get("forward"))
    return net
