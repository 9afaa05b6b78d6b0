"""Both sides on the device, channels-last, as a layer before would have left its result."""

from __future__ import annotations

import warnings
from math import prod

import engines
import workload

import fastconv as fc

MODES = ("high", "medium", "highest")  # what matters most first

#: The network of the dry run.
TINY = {"suite": "net", "net": "tiny", "name": "tiny b2", "x": [2, 3, 2, 2], "classes": 4}


class Fastconv(engines.Fastconv):
    def __init__(self):
        super().__init__(threads=1, backend="cuda")
        self.channels_last = True

    def fresh(self, t):
        """A copy with the same order in memory."""
        from fastconv.backends.cuda.runtime import layout

        return fc.Tensor(layout.copy(t.array))

    def network(self, job, training):
        if job["net"] != TINY["net"]:
            return super().network(job, training)
        fc.manual_seed(0)
        net = fc.nn.Sequential(fc.nn.Flatten(), fc.nn.Linear(prod(job["x"][1:]), job["classes"]))
        return net.to("cuda"), lambda: dict(net.named_parameters())

    def conv_call(self, which, spec, x, w, gy, algorithm=None):
        """A function that runs one pass of a convolution on device arrays."""
        if which == "fwd":
            return lambda: self.engine.conv_fwd(x.array, w.array, None, spec, algorithm)
        if which == "bwd_data":
            return lambda: self.engine.conv_bwd_data(gy.array, w.array, spec, algorithm)
        return lambda: self.engine.conv_bwd_weight(x.array, gy.array, spec, algorithm)


class Torch(engines.Torch):
    def __init__(self, dtype="float32", bf16=False):
        super().__init__(1, "channels_last", dtype, bf16)

    def tensor(self, array):
        return super().tensor(array).cuda()

    def numpy(self, t):
        return super().numpy(t.cpu())

    def fresh(self, t):
        return t.detach().clone()

    def context(self, job):
        return self.lib.autocast("cuda", self.lib.bfloat16, enabled=self.bf16)

    def conv_call(self, which, job, x, w, gy):
        """A function that runs one pass of a convolution, with the gradient that autograd would call."""
        torch, geometry = self.lib, {k: job[k] for k in ("stride", "padding", "dilation", "groups")}
        w = w.bfloat16() if self.bf16 else w
        if which == "fwd":
            return lambda: torch.nn.functional.conv2d(x, w, None, **geometry)
        backward = self.conv_backward(job | {"pass": which}, None, x, w, gy)
        return lambda: backward(None)


def torch_with_cuda(say):
    """PyTorch, or None where it is missing or has no CUDA, which is said."""
    try:
        import torch
    except Exception as e:  # not installed, or installed for another machine
        say(f"PyTorch is left out: {type(e).__name__}: {e}")
        return None
    if not torch.cuda.is_available():
        say(f"PyTorch is left out: {torch.__version__} finds no CUDA device")
        return None
    return torch


def set_precision(mode: str, torch=None) -> None:
    """The precision of float32 in both libraries; "medium" is bfloat16, in PyTorch by other types."""
    fc.set_float32_precision(mode)
    if torch is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is a newer name
            torch.backends.cuda.matmul.allow_tf32 = mode != "highest"
            torch.backends.cudnn.allow_tf32 = mode != "highest"
        torch.backends.cudnn.benchmark = True  # as fastconv, it may try which algorithm is fastest


def lost(torch=None) -> bool:
    """Whether this process can no longer use the device, as after an access outside of memory."""
    try:
        fc.cuda.synchronize()
        fc.tensor([1.0], device="cuda").numpy()
        if torch is not None:
            torch.cuda.synchronize()
    except Exception:
        return True
    return False


def relative_error(got, want) -> float:
    """``||got - want|| / ||want||`` of host arrays, in float64."""
    import numpy as np

    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return float(np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30))


def conv_inputs(side, spec, sets=1):
    """Input, weight and gradient of the result of a convolution, so many times in different memory."""
    x, gy = (side.like(workload.draw(k, s)) for k, s in (("x", spec.x_shape), ("gy", spec.y_shape)))
    first = x, side.weight(workload.weight("w", spec.w_shape)), gy
    return [first, *([side.fresh(t) for t in first] for _ in range(sets - 1))]
