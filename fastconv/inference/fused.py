"""Fused layers: a convolution or norm with the layers that follow it, as one op."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from .. import backends, nn
from ..backends.select import forced
from ..checks import check, check_shape
from ..nn.fused_chain import FusionSteps
from ..spec import ConvSpec, conv_spec
from ..tape import is_grad_enabled
from ..tensor import Tensor
from .forward import computes_as

#: Layers that a kernel can compute with what follows them, and norms that are folded into such a layer.
CONVS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
#: Activations that are steps of a fused chain.
CHAINED = ("relu", "sigmoid", "tanh")


def refuse(training: bool, *inputs: object) -> None:
    """Raise where a net for evaluation is used for training, or asked for gradients."""
    what = "optimize_for_inference"
    check(not training, what, "the net evaluates only; train the one it was made from", RuntimeError)
    check(
        not (is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in inputs)),
        what,
        "the net computes no gradients; use the one it was made from, or no_grad()",
        RuntimeError,
    )


class Fused(nn.Module):
    """``layers``, called one after the other, as one op.

    It reads the tensors and options of the layers and has none of its own.
    """

    def __init__(self, layers: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.layers = layers

    def __getstate__(self) -> dict[str, Any]:
        return {"layers": self.layers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def plain(self, x: Any, *more: Any) -> Any:
        """What the layers compute on their own; ``more``: further arguments of the last one."""
        *before, last = self.layers
        for m in before:
            x = type(m).forward(m, x)
        return type(last).forward(last, x, *more)


class FusedNorm(Fused):
    """BatchNorm and ReLU as one op."""

    def forward(self, x: Any) -> Tensor:
        """``relu(norm(x))``."""
        twin = copy.copy(self.layers[0])
        vars(twin)["activation"] = "relu"
        return type(twin).forward(twin, x)


class FusedConv(Fused):
    """A convolution with the layers that follow it as one kernel: ``op(conv(x) + bias + residual)``.

    ``layers``: a convolution or a dense layer, which is a 1x1 convolution of 1x1 images; any number of
    BatchNorms, whose scale and shift are folded into the weights and the bias; a pointwise layer or none.
    """

    def __init__(self, layers: tuple[nn.Module, ...]) -> None:
        super().__init__(layers)
        self.dense = isinstance(layers[0], nn.Linear)
        self._folded: Any = None
        self._packed: Any = None

    @property
    def activation(self) -> str | tuple[str, float, float] | None:
        """The op at the end, a layer or the activation of a BatchNorm, as engines take it."""
        last: Any = self.layers[-1]
        if computes_as(last, *NORMS):
            return last.activation
        if len(self.layers) == 1:
            return None
        op = last.pointwise_op()
        return "relu" if op[0] == "relu" else op

    @property
    def norms(self) -> list[Any]:
        """The BatchNorms among the layers."""
        return [m for m in self.layers[1:] if isinstance(m, NORMS)]

    @property
    def weight(self) -> Tensor:
        """The weights that the kernel gets."""
        return self._weights()[0]

    @property
    def bias(self) -> Tensor | None:
        """The bias that the kernel gets."""
        return self._weights()[1]

    def _weights(self) -> tuple[Tensor, Tensor | None, bool]:
        """Weight and bias with the BatchNorms folded in; whether all tensors share one dtype and device."""
        conv, norms = self._conv, self.norms
        tensors = [conv.weight, conv.bias]
        for n in norms:
            tensors += n.running_mean, n.running_var, n.weight, n.bias
        tensors = [t for t in tensors if t is not None]
        arrays = [t.array for t in tensors]
        state = [t.memory.version for t in tensors], list(map(id, arrays)), [n.eps for n in norms]
        # The arrays are kept alive, so that no other array gets their id.
        if self._folded is None or self._folded[0] != state:
            alike = len({(t.dtype, t.device) for t in tensors}) == 1
            self._folded = state, arrays, (*self._fold(conv, norms), alike)
        return self._folded[2]

    @property
    def _conv(self) -> Any:
        return self.layers[0]

    @property
    def _pads_zeros(self) -> bool:
        """Whether the kernel's own padding is the layer's."""
        return self.dense or self._conv.padding_mode == "zeros"

    def _fold(self, conv: Any, norms: list[Any]) -> tuple[Tensor, Tensor | None]:
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

    def forward(self, x: Any, residual: Any = None) -> Tensor:
        """``op(conv(x) + bias + residual)`` in one kernel, or layer by layer where that does not fit."""
        conv = self._conv
        refuse(conv.training, x)
        algorithm = forced(None if self.dense else conv.algorithm)
        w, b, alike = self._weights()
        if (
            not (alike and self._fits(x, w) and (residual is None or self._fits(residual, w)))
            or self.dense
            and algorithm
        ):
            # The layers on their own, which report what does not fit.
            return self.plain(x, *[residual] * (residual is not None))
        engine: Any = backends.engine_of(x.device)
        x = x.array
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
        activation = self.activation
        apart = None
        if isinstance(activation, tuple) and activation[0] not in getattr(engine, "CONV_ACTIVATIONS", ()):
            activation, apart = None, activation
        y = engine.conv_fwd(x, packed[2], b, spec, algorithm, residual, activation)
        if apart is not None:
            y = engine.unary_fwd(apart[0], y, *apart[1:])
        return Tensor(engine.reshape(y, (*lead, w.shape[0])) if self.dense else y)

    def _fits(self, x: Any, w: Tensor) -> bool:
        if not self._pads_zeros or not (
            isinstance(x, Tensor) and x.dtype == w.dtype and x.device == w.device
        ):
            return False
        return x.ndim == 2 or x.ndim > 2 and not self.norms if self.dense else x.ndim == w.ndim

    def _spec(self, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> ConvSpec:
        conv = self._conv
        if self.dense:
            return conv_spec("linear", x_shape, w_shape)
        return conv_spec(
            f"conv{conv.ndim}d", x_shape, w_shape, conv.stride, conv.padding, conv.dilation, conv.groups
        )

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps | None:
        """A convolution and perhaps an activation; None where ``forward`` must be called, see there."""
        conv = self._conv
        weight, bias, alike = self._weights()
        if (
            conv.training
            or forced(None if self.dense else conv.algorithm)
            or not (alike and self._pads_zeros)
        ):
            return None
        spec = self._spec((*shape, 1, 1) if self.dense else shape, weight.shape)
        steps: list[tuple[str, Any]] = [("linear" if self.dense else "conv", spec)]
        activation = self.activation
        if activation is not None:
            name = activation if isinstance(activation, str) else activation[0]
            if name not in CHAINED:
                return None
            steps.append((name, None))
        return steps, spec.y_shape[:2] if self.dense else spec.y_shape, (weight, bias)
