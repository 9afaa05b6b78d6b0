"""A trained network made ready to be used: ``optimize_for_inference``."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import backends, nn
from .autograd import is_grad_enabled
from .backends import settings
from .backends.select import forced
from .models.resnet import _Block
from .nn import sequence
from .nn.layers import _BatchNorm, _Conv
from .nn.modules import changes
from .spec import check, check_float, check_shape, conv_spec, shape_str
from .tensor import Tensor


class Conv(nn.Module):
    """A convolution or dense layer with all that follows it in one kernel: ``relu(conv(x) + bias + residual)``.

    Attributes
    ----------
    weight, bias : Tensor
        The layer's, BatchNorm folded in; a dense layer is a 1x1 convolution of 1x1 images.
    relu : bool
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d):
        super().__init__()
        self.dense, self.relu, self._packed = isinstance(layer, nn.Linear), False, None
        self.folded = False
        weight, bias = layer.weight.detach(), layer.bias
        self.register_buffer("weight", weight.reshape(*weight.shape, 1, 1) if self.dense else weight)
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.name = "linear" if self.dense else f"conv{layer.ndim}d"
        self.options = () if self.dense else (layer.stride, layer.padding, layer.dilation, layer.groups)
        self.algorithm = None if self.dense else layer.algorithm

    def fold(self, norm: _BatchNorm) -> None:
        """Scale weights and bias as ``norm`` would scale their result in evaluation."""
        w, dtype = self.weight.numpy(), self.weight.dtype
        mean, var, gain, shift = (
            np.full(len(w), missing) if t is None else t.numpy().astype(np.float64)
            for t, missing in ((norm.running_mean, 0.0), (norm.running_var, 1.0), (norm.weight, 1.0), (norm.bias, 0.0))
        )
        scale = gain / np.sqrt(var + norm.eps)
        bias = 0 if self.bias is None else self.bias.numpy()
        folded = w * scale.reshape(-1, *(1,) * (w.ndim - 1))
        self.weight = Tensor(folded.astype(dtype)).to(self.weight.device)
        self.bias = Tensor(((bias - mean) * scale + shift).astype(dtype)).to(self.weight.device)
        self.relu, self.folded = norm.activation == "relu", True

    def forward(self, x, residual=None):
        what = "optimize_for_inference"
        check(not self.training, what, "the net evaluates only; train the one it was made from", RuntimeError)
        check(not (x.requires_grad and is_grad_enabled()), what,
              "the net computes no gradients; use the one it was made from, or no_grad()", RuntimeError)  # fmt: skip
        check_float(self.name, input=x, weight=self.weight)
        engine, w, x = backends.engine_of(x.device), self.weight, x._array
        lead = x.shape[:-1]
        if self.dense:
            check(not self.folded or x.ndim == 2, self.name,
                  f"input must have 2 dimensions (N x C) with BatchNorm folded in, got {shape_str(x.shape)}")
            x = engine.reshape(x, (-1, x.shape[-1], 1, 1))
        spec = conv_spec(self.name, x.shape, w.shape, *self.options)
        if residual is not None:
            check_shape(self.name, "residual", residual.shape, spec.y_shape, "the result's")
            residual = residual._array
        state = engine, w._cell[0]  # weights that have been loaded or moved since are packed anew
        if self._packed is None or self._packed[0] != state:
            self._packed = state, engine.conv_prepack(w._array)
        bias = None if self.bias is None else self.bias._array
        y = engine.conv_fwd(x, self._packed[1], bias, spec, forced(self.algorithm), residual, self.relu)
        return Tensor(engine.reshape(y, (*lead, w.shape[0])) if self.dense else y)

    def steps(self, shape):
        """Its steps in a run of layers (see :data:`fastconv.nn.sequence.STEPS`)."""
        if self.training or forced(self.algorithm):
            raise ValueError("forward says what is wrong, or wants the algorithm that was named")
        shape = (*shape, 1, 1) if self.dense else shape
        spec = conv_spec(self.name, shape, self.weight.shape, *self.options)
        kind = "linear" if self.dense else "conv"
        return [(kind, spec)] + [("relu", None)] * self.relu, spec.y_shape[:2] if self.dense else spec.y_shape

    def extra_repr(self):
        shape = "x".join(map(str, self.weight.shape))
        return f"{self.name}, {shape}, options={self.options}, relu={self.relu}"


sequence.STEPS[Conv] = Conv.steps


class Residual(nn.Module):
    """``body(x) + shortcut(x)``, the sum inside the kernel of the body's last convolution."""

    def __init__(self, body: list[Conv], shortcut: nn.Module | None):
        super().__init__()
        self.body = nn.Sequential(*body[:-1])
        self.last, self.shortcut = body[-1], shortcut

    def forward(self, x):
        carried = x if self.shortcut is None else self.shortcut(x)
        return self.last(self.body(x), carried)


def _is(module, *kinds) -> bool:
    """Whether ``module`` computes what one of ``kinds`` does: a subclass with a ``forward`` of its own does not."""
    return any(isinstance(module, k) and type(module).forward is k.forward for k in kinds)


def _foldable(norm) -> bool:
    return _is(norm, _BatchNorm) and norm.running_mean is not None


def _sequence(parent: nn.Module, names) -> Iterator[tuple[nn.Module, str]]:
    """The places (owner and name) of modules that are called one after the other, through nested Sequentials."""
    for name in names:
        module = parent._modules[name]
        if _is(module, nn.Sequential):
            yield from _sequence(module, list(module._modules))
        else:
            yield parent, name


def _fuse(places) -> None:
    """Replace modules that follow each other by one, and those that it made superfluous by Identity."""
    last = None
    for owner, name in places:
        module = owner._modules[name]
        open_end = isinstance(last, Conv) and not last.relu
        if open_end and _foldable(module) and module.num_features == len(last.weight):
            last.fold(module)
        elif open_end and _is(module, nn.ReLU):
            last.relu = True
        elif _is(last, _BatchNorm) and last.activation is None and _is(module, nn.ReLU):
            last.activation = "relu"
        elif not (_is(module, nn.Dropout) and module.mode == "upscale_in_train" or _is(module, nn.Identity)):
            last = _optimized(module)
            setattr(owner, name, last)
            continue
        setattr(owner, name, nn.Identity())


def _optimized(module: nn.Module) -> nn.Module:
    """The module to put in the place of ``module``, which may be changed."""
    if _is(module, nn.Linear, _Conv):
        return Conv(module)
    if _is(module, _Block):
        names = range(1, module.depth + 1)
        if all(_foldable(getattr(module, f"bn{i}")) for i in names):
            body = [Conv(getattr(module, f"conv{i}")) for i in names]
            for i, conv in zip(names, body):
                conv.fold(getattr(module, f"bn{i}"))
            return Residual(body, module.downsample and _optimized(module.downsample))
    done = set()
    chains = [tuple(module._modules)] if _is(module, nn.Sequential) else getattr(module, "in_sequence", ())
    for names in chains:
        _fuse(_sequence(module, names))
        done.update(names)
    for name, child in module.named_children():
        if name not in done:
            setattr(module, name, _optimized(child))
    return module


class Replays:
    """The ``forward`` of a net that has been optimized: from the second input of a shape on, only its kernels run.

    The recordings of the four latest shapes are kept; anything that could change them (weights, modules, their options,
    threads, precision) makes new ones. Nets with a ``forward`` from outside fastconv, which may look at values, and
    engines that do not record run as they are.
    """

    LIMIT = 4

    def __init__(self, net: nn.Module):
        self.net, self.known, self.cells, self.changes = net, False, (), None
        self.recordings: OrderedDict[tuple, Any] = OrderedDict()

    def __deepcopy__(self, memo):
        return Replays(copy.deepcopy(self.net, memo))

    def forward(self, *args, **kwargs):
        return type(self.net).forward(self.net, *args, **kwargs)

    def _key(self, engine, x):
        if self.changes != changes[0]:
            self.known = all(type(m).__module__.partition(".")[0] == __package__ for m in self.net.modules())
            self.cells = [t._cell for t in (*self.net.parameters(), *self.net.buffers())]
            self.changes = changes[0]
        return (engine, x.shape, x.dtype, settings.get_num_threads(), settings.get_float32_precision(), forced(None),
                changes[0], *[cell[0] for cell in self.cells])  # fmt: skip

    def __call__(self, *args, **kwargs):
        x = args[0] if len(args) == 1 and not kwargs else None
        if not isinstance(x, Tensor) or self.net.training or x.requires_grad:
            return self.forward(*args, **kwargs)
        engine = backends.engine_of(x.device)
        if backends.observer.get() is not None or not hasattr(engine, "record"):
            return self.forward(x)
        key = self._key(engine, x)
        replay = self.recordings.get(key, self)
        if replay is self:
            y = self.forward(x)
            # To be recorded next time: this one has packed weights.
            self.recordings[self._key(engine, x)] = None if self.known else False
            while len(self.recordings) > self.LIMIT:
                self.recordings.popitem(last=False)
            return y
        if replay is None:
            replay = engine.record(lambda a: self.forward(Tensor(a))._array, x._array) or False
            self.recordings[key] = replay
        return Tensor(replay(x._array)) if replay else self.forward(x)


def optimize_for_inference(net: nn.Module) -> nn.Module:
    """A copy of ``net`` for evaluation only that computes the same with fewer passes over memory.

    BatchNorm is folded into the convolution or dense layer before it, ReLU and the sum of a residual block are done by the
    convolution's kernel, dropout is left out, and weights are kept in the arrangement that kernels read. This is done in
    ``Sequential``, in the blocks of :mod:`fastconv.models`, and for the tuples of names in a module's attribute
    ``in_sequence``, which says which of its children ``forward`` calls directly one after the other::

        class Stem(nn.Module):
            in_sequence = (("conv", "norm"),)

            def forward(self, x):
                return self.pool(self.norm(self.conv(x)))

    Every other module stays as it is. From the second input of a shape on the CPU backend runs the kernels alone, in memory
    planned once (see :class:`Replays`).

    Parameters
    ----------
    net : Module
        Stays as it is, with memory of its own.

    Returns
    -------
    Module
        In evaluation mode. Its results agree with ``net.eval()`` up to rounding and carry no gradients: calling it on a
        tensor that requires one raises a RuntimeError, and so does calling it in training mode.
    """
    check(isinstance(net, nn.Module), "optimize_for_inference", f"expected a Module, got {type(net).__name__}", TypeError)
    net = copy.deepcopy(net)
    net.zero_grad()
    net = _optimized(net).eval().requires_grad_(False)
    net.forward = Replays(net)
    return net
