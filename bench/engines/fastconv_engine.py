"""fastconv: its cpu backend, or its reference in NumPy."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import metadata

import workload

from engines.base import Engine


class Fastconv(Engine):
    def __init__(self, threads: int, backend: str = "cpu", dtype: str = "float32"):
        import fastconv as fc
        from fastconv import backends, optim
        from fastconv.nn import functional

        self.lib, self.F, self.optim, self.dtype = fc, functional, optim, dtype
        self.inference = fc.no_grad
        fc.set_num_threads(threads)
        fc.set_backend(backend)
        self.engine = backends.load(backend)
        self.channels_last = backend == "cpu"

    def version(self):
        return ", ".join(
            [super().version(), *(f"{p} {metadata.version(p)}" for p in ("numpy", "numba", "llvmlite"))]
        )

    def tensor(self, array, channels_last=False):
        return self.lib.from_numpy(workload.aligned(array, self.dtype, channels_last))

    def like(self, array):
        """What a layer before would have handed on."""
        return self.tensor(array, self.channels_last and array.ndim == 4)

    def weight(self, array):
        if array.ndim < 2:
            return self.tensor(array)
        last = range(array.ndim - 2, array.ndim)
        inside_out = workload.aligned(array.transpose(*range(2, array.ndim), 1, 0), self.dtype, False)
        return self.lib.from_numpy(inside_out.transpose(*reversed(last), *range(array.ndim - 2)))

    def numpy(self, t):
        return t.detach().numpy()

    def context(self, job):
        forced = job.get("algorithm", "auto")
        return nullcontext() if forced == "auto" else self.lib.conv_algorithm(forced)

    def conv_backward(self, job, spec, x, w, gy):
        x, w, gy, algorithm = x.numpy(), w.numpy(), gy.numpy(), job.get("algorithm", "auto")
        algorithm = None if algorithm == "auto" else algorithm
        if job["pass"] == "bwd_data":
            return lambda _: self.lib.from_numpy(self.engine.conv_bwd_data(gy, w, spec, algorithm))
        return lambda _: self.lib.from_numpy(self.engine.conv_bwd_weight(x, gy, spec, algorithm))

    def batch_norm_relu(self, x, mean, var, w, b, other=None):
        return self.F.batch_norm(x, mean, var, w, b, True, activation="relu", residual=other)

    def network(self, job, training):
        if job["net"] == "lenet":
            net = self.lib.models.lenet5(num_classes=job["classes"])
        else:
            net = self.lib.models.resnet18(
                job["classes"], in_channels=job["x"][1], small_input=job["net"] != "resnet18"
            )
        for path, p in net.named_parameters():
            p.data[...] = workload.parameter(path, p.shape)
        if not training:
            net.eval()
            net = getattr(self.lib, "optimize_for_inference", lambda n: n)(net)
        return net, lambda: dict(net.named_parameters())

    def placed(self, net):
        return net if net.training else self.lib.optimize_for_inference(net)

    def repeated(self, step, network, optimizer):
        return self.lib.train.graphed(step, network, optimizer)

    def peak(self, threads: int) -> dict[str, float]:
        """Operations per second of a tile that never leaves the registers, and bytes per second of a copy."""
        from fastconv.backends.cpu.runtime import machine

        return {"flops": machine.peak(threads), "bytes": machine.copy_rate(threads)}
