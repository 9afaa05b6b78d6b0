"""PyTorch: eager in two layouts, in bfloat16, and compiled."""

from __future__ import annotations

from contextlib import nullcontext

import networks
import workload

from engines.base import Engine, Unsupported


class Torch(Engine):
    def __init__(
        self,
        threads: int,
        layout: str = "contiguous_format",
        dtype: str = "float32",
        bf16: bool = False,
        compiler: str | None = None,
    ):
        import torch

        torch.set_num_threads(threads)
        self.compiler = compiler  # the backend of torch.compile, for networks
        if compiler == "inductor":
            from torch._inductor import config

            config.freezing = True  # in inference, weights are constants
        self.lib, self.F, self.optim = torch, torch.nn.functional, torch.optim
        self.layout, self.dtype, self.bf16 = getattr(torch, layout), getattr(torch, dtype), bf16
        self.inference = torch.inference_mode
        self.optimizer_options = {"fused": True}  # the fastest of PyTorch's variants

    def tensor(self, array):
        t = self.lib.from_numpy(array)
        t = t.to(self.dtype) if t.is_floating_point() else t
        return t.clone(memory_format=self.layout if t.ndim == 4 else self.lib.preserve_format)

    def like(self, array):
        t = self.tensor(array)
        return t.bfloat16() if self.bf16 and t.is_floating_point() else t

    def numpy(self, t):
        return t.detach().to(self.lib.float64 if self.dtype == self.lib.float64 else self.lib.float32).numpy()

    def op(self, job):
        if self.bf16 or self.compiler:
            raise Unsupported("networks and, in bfloat16, convolutions only: suites net and conv")
        return super().op(job)

    def context(self, job):
        return self.lib.autocast("cpu", self.lib.bfloat16) if self.bf16 else nullcontext()

    def conv(self, job):
        if self.compiler:
            raise Unsupported("compiled are networks: suite net")
        return super().conv(job)

    def conv_backward(self, job, spec, x, w, gy):
        w = w.bfloat16() if self.bf16 else w
        pairs = [[job[k]] * 2 for k in ("stride", "padding", "dilation")]
        mask = [job["pass"] == "bwd_data", job["pass"] == "bwd_weight", False]
        run = self.lib.ops.aten.convolution_backward
        return lambda _: run(gy, x, w, None, *pairs, False, [0, 0], job["groups"], mask)[mask.index(True)]

    def batch_norm_relu(self, x, mean, var, w, b, other=None):
        y = self.F.batch_norm(x, mean, var, w, b, True)
        return self.F.relu(y if other is None else y.add_(other), inplace=True)

    def placed(self, net):
        if self.layout is self.lib.channels_last and any(p.ndim == 4 for p in net.parameters()):
            net = net.to(memory_format=self.layout)
        return self.compiled(net.to(self.dtype))

    def compiled(self, network):
        if not self.compiler:
            return network
        # Without this the code that two networks share would be compiled again for any shape, and after
        # eight times not at all.
        self.lib.compiler.reset()
        return self.lib.compile(network, backend=self.compiler, dynamic=False)

    def network(self, job, training):
        g = networks.TorchGraph(self, training)

        def run(x):
            return networks.NETS[job["net"]](g, x, job)

        if self.compiler:
            run(self.like(workload.draw("x", job["x"])))  # makes the parameters, outside the compiled graph
        return self.compiled(run), lambda: g.params
