"""Layers merged into one op, and the rules by which they are."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import numpy as np

from .. import backends, nn
from ..autograd import is_grad_enabled
from ..backends.select import forced
from ..checks import check, check_shape
from ..nn.fused_chain import STEPS, Merged
from ..spec import conv_spec
from ..tensor import Tensor
from .forward import computes_as

CONVS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def refuse(training: bool, x) -> None:
    """What a net that only evaluates is not to be used for."""
    what = "optimize_for_inference"
    check(not training, what, "the net evaluates only; train the one it was made from", RuntimeError)
    check(
        not (isinstance(x, Tensor) and x.requires_grad and is_grad_enabled()),
        what,
        "the net computes no gradients; use the one it was made from, or no_grad()",
        RuntimeError,
    )


class Norm(Merged):
    """BatchNorm and ReLU."""

    def forward(self, x):
        twin = copy.copy(self.layers[0])
        vars(twin)["activation"] = "relu"
        return type(twin).forward(twin, x)


class Conv(Merged):
    """A convolution or dense layer with all that follows it in one kernel: ``relu(conv(x) + bias +
    residual)``.

    ``layers``: the convolution or dense layer (a 1x1 convolution of 1x1 images), BatchNorms, whose scale and
    shift go into the weights and the bias, ReLU.
    """

    def __init__(self, layers):
        super().__init__(layers)
        self.dense = isinstance(layers[0], nn.Linear)
        self._folded, self._packed = None, None

    @property
    def relu(self) -> bool:
        last = self.layers[-1]
        return computes_as(last, nn.ReLU) or computes_as(last, *NORMS) and last.activation == "relu"

    @property
    def norms(self):
        return [m for m in self.layers[1:] if isinstance(m, NORMS)]

    @property
    def weight(self) -> Tensor:
        return self._weights()[0]

    @property
    def bias(self) -> Tensor | None:
        return self._weights()[1]

    def _weights(self):
        """Weight and bias with the BatchNorms folded in, and whether all come in one dtype and on one
        device."""
        conv, norms = self.layers[0], self.norms
        tensors = [conv.weight, conv.bias]
        for n in norms:
            tensors += n.running_mean, n.running_var, n.weight, n.bias
        tensors = [t for t in tensors if t is not None]
        arrays = [t.array for t in tensors]
        state = [t.memory.version for t in tensors], list(map(id, arrays)), [n.eps for n in norms]
        # the arrays are kept, so that no other one gets their id
        if self._folded is None or self._folded[0] != state:
            alike = len({(t.dtype, t.device) for t in tensors}) == 1
            self._folded = state, arrays, (*self._fold(conv, norms), alike)
        return self._folded[2]

    def _fold(self, conv, norms):
        weight, bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
        for n in norms:
            w, dtype = weight.numpy(), weight.dtype
            mean, var, gain, shift = (
                np.full(len(w), missing) if t is None else t.numpy().astype(np.float64)
                for t, missing in (
                    (n.running_mean, 0.0),
                    (n.running_var, 1.0),
                    (n.weight, 1.0),
                    (n.bias, 0.0),
                )
            )
            scale = gain / np.sqrt(var + n.eps)
            b = 0 if bias is None else bias.numpy()
            w = (w * scale.reshape(-1, *(1,) * (w.ndim - 1))).astype(dtype)
            weight = Tensor(w).to(conv.weight.device)
            bias = Tensor(((b - mean) * scale + shift).astype(dtype)).to(conv.weight.device)
        return weight.reshape(*weight.shape, 1, 1) if self.dense else weight, bias

    def forward(self, x, residual=None):
        conv = self.layers[0]
        refuse(conv.training, x)
        algorithm = forced(None if self.dense else conv.algorithm)
        w, b, alike = self._weights()
        if (
            not (alike and self._fits(x, w) and (residual is None or self._fits(residual, w)))
            or self.dense
            and algorithm
        ):
            # which may be right, or says what is not
            return self.plain(x, *[residual] * (residual is not None))
        engine, x = backends.engine_of(x.device), x.array
        lead = x.shape[:-1]
        if self.dense:
            x = engine.reshape(x, (-1, x.shape[-1], 1, 1))
        spec = self._spec(x.shape, w.shape)
        if residual is not None:
            check_shape("batch_norm", "residual", residual.shape, spec.y_shape, "the input's")
            residual = residual.array
        packed = self._packed
        if packed is None or packed[0] != engine or packed[1] is not w:
            self._packed = packed = engine, w, engine.conv_prepack(w.array)
        b = None if b is None else b.array
        y = engine.conv_fwd(x, packed[2], b, spec, algorithm, residual, self.relu)
        return Tensor(engine.reshape(y, (*lead, w.shape[0])) if self.dense else y)

    def _fits(self, x, w) -> bool:
        if not (isinstance(x, Tensor) and x.dtype == w.dtype and x.device == w.device):
            return False
        return x.ndim == 2 or x.ndim > 2 and not self.norms if self.dense else x.ndim == w.ndim

    def _spec(self, x_shape, w_shape):
        conv = self.layers[0]
        if self.dense:
            return conv_spec("linear", x_shape, w_shape)
        return conv_spec(
            f"conv{conv.ndim}d", x_shape, w_shape, conv.stride, conv.padding, conv.dilation, conv.groups
        )

    def steps(self, shape):
        """Its steps in a run of layers (see :data:`fastconv.nn.fused_chain.STEPS`)."""
        conv = self.layers[0]
        if conv.training or forced(None if self.dense else conv.algorithm) or not self._weights()[2]:
            raise ValueError("forward says what is wrong, or wants the algorithm that was named")
        spec = self._spec((*shape, 1, 1) if self.dense else shape, self.weight.shape)
        kind = "linear" if self.dense else "conv"
        return [(kind, spec)] + [("relu", None)] * self.relu, spec.y_shape[:2] if self.dense else spec.y_shape


STEPS[Conv] = Conv.steps


# ------------------------------------------------------------------------------------------------- rules
def foldable(conv, norm) -> bool:
    """Whether ``norm`` scales and shifts the channels that ``conv`` computes by constants."""
    if not computes_as(norm, *NORMS) or norm.running_mean is None or norm.training:
        return False
    rank = 2 if isinstance(conv, nn.Linear) else conv.ndim + 2
    vectors = [t for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias) if t is not None]
    return rank in norm.ranks and all(t.shape == conv.weight.shape[:1] for t in vectors)


def _joins(layers, module) -> bool:
    """Whether ``module`` can be merged into the ``layers`` before it."""
    first, last = layers[0], layers[-1]
    if computes_as(last, nn.ReLU) or computes_as(last, *NORMS) and last.activation:
        return False
    if computes_as(module, nn.ReLU):
        return computes_as(first, *CONVS, *NORMS)
    return computes_as(first, *CONVS) and foldable(first, module)


def _does_nothing(module) -> bool:
    if computes_as(module, nn.Dropout):
        return module.mode == "upscale_in_train" and not module.training
    return computes_as(module, nn.Identity)


def flat(modules: Iterable) -> Iterator:
    """``modules``, those in place of a Sequential that they are called by."""
    for m in modules:
        if computes_as(m, nn.Sequential):
            yield from flat(m)
        else:
            yield m


def merge(modules: Iterable, known: dict) -> tuple[list, dict]:
    """What computes the same as ``modules`` called one after the other, and, by their layers, the merged
    among them, which are taken from ``known`` where it has them."""
    groups: list[tuple] = []
    for m in flat(modules):
        if _does_nothing(m):
            continue
        if groups and _joins(groups[-1], m):
            groups[-1] += (m,)
        else:
            groups.append((m,))
    made: dict[tuple, Merged] = {}
    for g in groups:
        if computes_as(g[0], *CONVS):
            made[g] = known.get(g) or Conv(g)
        elif len(g) > 1:
            made[g] = known.get(g) or Norm(g)
    return [made.get(g, g[0]) for g in groups], made
