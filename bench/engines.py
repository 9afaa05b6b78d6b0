"""The engines that are compared. Each makes a :class:`Call` of a job, or says why it does not run it."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import metadata

import names
import networks
import numpy as np
import user_networks
import workload

SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
NOTES_SGD = {"lr": 0.9}  # how the course notes train LeNet


class Unsupported(Exception):
    """The engine has no such op; the message says which."""


@dataclass
class Call:
    """``run(setup())`` does the job once; only ``run`` is timed. ``results`` turns what it returned into
    arrays."""

    run: Callable
    results: Callable
    setup: Callable = lambda: None


class Engine:
    """What PyTorch and fastconv share: the names of their APIs."""

    optimizer_options: dict = {}

    def version(self) -> str:
        return f"{self.lib.__name__} {self.lib.__version__}"

    def prepare(self, job: dict) -> Call:
        return getattr(self, job["suite"])(job)

    def leaf(self, array):
        return self.tensor(array).requires_grad_()

    def weight(self, array):
        """A weight as the engine's own layers keep it."""
        return self.tensor(array)

    def call(self, run, setup=lambda: None) -> Call:
        def results(found):
            return [self.numpy(t) for t in (found if isinstance(found, (list, tuple)) else [found])]

        return Call(run, results, setup)

    def forward_or_backward(self, which, forward, leaves) -> Call:
        """Either pass through the normal API, tape included."""
        if which == "fwd":
            return self.call(lambda _: forward())
        gy = self.like(workload.draw("gy", forward().shape))

        def setup():
            for t in leaves:
                t.grad = None
            return forward()

        def run(y):
            y.backward(gy)
            return [t.grad for t in leaves]

        return self.call(run, setup)

    def conv(self, job):
        spec, which = workload.spec_of(job), job["pass"]
        x, w = self.like(workload.draw("x", spec.x_shape)), self.weight(workload.weight("w", spec.w_shape))
        if which in ("bwd_data", "bwd_weight"):
            gy = self.like(workload.draw("gy", spec.y_shape))
            return self.call(self.conv_backward(job, spec, x, w, gy))
        options = {k: job[k] for k in ("stride", "padding", "dilation", "groups")}
        x.requires_grad_()
        w.requires_grad_()

        def forward():
            with self.context(job):
                return self.F.conv2d(x, w, None, **options)

        return self.forward_or_backward(which, forward, [x, w])

    def op(self, job):
        F, op, shape = self.F, job["op"], job["x"]
        if op in names.CALLS and tuple(shape) == names.CALLS[op][0]:
            return self.expression(job)
        if op in ("sgd", "adam"):
            params = [
                self.leaf(workload.draw(f"p{i}", s)) for i, s in enumerate(workload.resnet18_parameters())
            ]
            for i, p in enumerate(params):
                p.grad = self.tensor(workload.draw(f"g{i}", p.shape))
            make = {"sgd": partial(self.optim.SGD, **SGD), "adam": self.optim.Adam}[op]
            step = make(params, **self.optimizer_options).step
            return self.call(lambda _: step() or params)
        x = self.like(workload.draw("x", shape)).requires_grad_()
        if op == "cross_entropy":
            target = self.tensor(workload.labels(*shape))

            def run(_):
                x.grad = None
                F.cross_entropy(x, target).backward()
                return x.grad

            return self.call(run)
        size = (job["out"], shape[1]) if op == "linear" else shape[1:2]
        w = self.weight(workload.parameter("fc.weight", size)).requires_grad_()
        b = self.leaf(workload.parameter("fc.bias", size[:1]))
        mean, var = (self.tensor(np.full(shape[1], v, np.float32)) for v in (0, 1))
        other = self.like(workload.draw("other", shape)).requires_grad_()
        pooling = {k: job[k] for k in ("kernel_size", "stride", "padding") if k in job}
        forward, leaves = {
            "max_pool": (lambda: F.max_pool2d(x, **pooling), [x]),
            "avg_pool": (lambda: F.avg_pool2d(x, **pooling), [x]),
            "sigmoid": (lambda: F.sigmoid(x), [x]),
            "tanh": (lambda: F.tanh(x), [x]),
            "exp": (lambda: x.exp(), [x]),
            "linear": (lambda: F.linear(x, w, b), [x, w, b]),
            "batch_norm_relu": (lambda: self.batch_norm_relu(x, mean, var, w, b), [x, w, b]),
            "batch_norm_add_relu": (
                lambda: self.batch_norm_relu(x, mean, var, w, b, other),
                [x, w, b, other],
            ),
        }[op]
        return self.forward_or_backward(job["pass"], forward, leaves)

    def expression(self, job):
        """A line of ``names.py``."""
        known = names.inputs(self, workload.draw, tuple(job["x"]))
        code = compile(names.CALLS[job["op"]][1], job["op"], "eval")
        leaves = [known[k] for k in "xypcw" if k in code.co_names]

        def forward():
            return eval(code, known)

        if job["pass"] == "bwd" and not forward().requires_grad:
            raise Unsupported("its result has no gradient")
        return self.forward_or_backward(job["pass"], forward, leaves)

    def user_network(self, job, training):
        """The module, and a function that gives its parameters."""
        net = user_networks.build(self.lib, job["net"])
        with self.lib.no_grad():
            for path, p in net.named_parameters():
                p.copy_(self.lib.from_numpy(workload.parameter(path, p.shape)))
        net.train(training)
        return self.placed(net), lambda: dict(net.named_parameters())

    def net(self, job):
        training = job["pass"] == "train"
        find = self.user_network if job["net"] in user_networks.SHAPES else self.network
        network, parameters = find(job, training)
        x = self.like(workload.draw("x", job["x"]))
        if not training:

            def infer(_):
                with self.inference(), self.context(job):
                    return network(x)

            return self.call(infer)
        with self.context(job):
            y = network(x)  # PyTorch's parameters are made as the network first asks for them
        if job["classes"]:
            loss_of, target = self.F.cross_entropy, self.tensor(workload.labels(job["x"][0], job["classes"]))
        else:
            loss_of, target = self.F.mse_loss, self.like(workload.draw("target", y.shape))
        params = parameters()
        settings = (NOTES_SGD if job["net"] == "lenet" else SGD) | self.optimizer_options
        optimizer = self.optim.SGD([params[n] for n in sorted(params)], **settings)

        def step(x, target):
            optimizer.zero_grad()
            with self.context(job):
                loss = loss_of(network(x), target)
            loss.backward()
            optimizer.step()
            return loss

        step = self.repeated(step, network, optimizer)

        def results(loss):  # all gradients as one vector: some alone are too near zero to compare
            return [
                self.numpy(loss),
                np.concatenate([self.numpy(params[n].grad).ravel() for n in sorted(params)]),
            ]

        return Call(lambda _: step(x, target), results)

    def repeated(self, step, network, optimizer):
        """The training step as the engine's users repeat it."""
        return step


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
        return self.lib.compile(network, backend=self.compiler) if self.compiler else network

    def network(self, job, training):
        g = networks.TorchGraph(self, training)

        def run(x):
            return networks.NETS[job["net"]](g, x, job)

        if self.compiler:
            run(self.like(workload.draw("x", job["x"])))  # makes the parameters, outside the compiled graph
        return self.compiled(run), lambda: g.params


class Onnx(Engine):
    """Inference through an ONNX model: ONNX Runtime or OpenVINO."""

    def __init__(self, threads: int, runtime: str):
        import onnx  # noqa: F401 - networks.OnnxGraph needs it

        self.lib, self.threads = __import__(runtime), threads

    def prepare(self, job):
        if job["pass"] not in ("fwd", "infer"):
            raise Unsupported("inference only")
        g, shape = networks.OnnxGraph(), job.get("x")
        if job.get("net") in user_networks.SHAPES:
            return self.exported(job)
        if job["suite"] == "net":
            networks.NETS[job["net"]](g, "x", job)
        elif job["suite"] == "conv":
            spec = workload.spec_of(job)
            shape, w = spec.x_shape, g.constant("w", workload.weight("w", spec.w_shape))
            g.node(
                "Conv",
                "x",
                w,
                strides=spec.stride,
                pads=[job["padding"]] * 4,
                dilations=spec.dilation,
                group=spec.groups,
            )
        elif job["op"] in ("max_pool", "avg_pool"):
            k, s, p = job["kernel_size"], job.get("stride", job["kernel_size"]), job.get("padding", 0)
            kind = {"max_pool": "MaxPool", "avg_pool": "AveragePool"}[job["op"]]
            g.node(kind, "x", kernel_shape=[k] * 2, strides=[s] * 2, pads=[p] * 4)
        elif job["op"] in ("sigmoid", "tanh", "exp"):
            g.node(job["op"].capitalize(), "x")
        elif job["op"] == "linear":
            g.linear("x", "fc", (job["out"], shape[1]))
        else:
            raise Unsupported("inference only")
        return self.run(g.model(shape), shape)

    def exported(self, job):
        """A user's network, written to ONNX by PyTorch."""
        import torch

        peer, model = Torch(self.threads), io.BytesIO()
        net, _ = peer.user_network(job, training=False)
        x = peer.like(workload.draw("x", job["x"]))
        torch.onnx.export(net, (x,), model, input_names=["x"], output_names=["y"], dynamo=False)
        return self.run(model.getvalue(), job["x"])

    def run(self, model, shape):
        run = self.session(model, workload.aligned(workload.draw("x", shape)))
        return Call(lambda _: run(), lambda y: [y])

    def session(self, model, x):
        lib = self.lib
        if lib.__name__ == "onnxruntime":
            options = lib.SessionOptions()
            options.intra_op_num_threads = self.threads
            session = lib.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            return lambda: session.run(None, {"x": x})[0]
        # Without the hint OpenVINO computes in bfloat16 where the processor can.
        hints = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
        }
        core = lib.Core()
        request = core.compile_model(core.read_model(model), "CPU", hints).create_infer_request()
        return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)[0]


def reference(threads: int) -> Engine:
    """The engine in float64 that errors are measured against."""
    try:
        return Torch(threads, dtype="float64")
    except ImportError:
        return Fastconv(threads, "numpy", "float64")


#: How an engine that is missing is installed (fastconv's own need nothing more).
INSTALL = {
    "torch": "pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu",
    "onnxruntime": "pip install onnx onnxruntime",
    "openvino": "pip install onnx openvino",
}
INSTALL |= {name: INSTALL["torch"] for name in ("torch-cl", "torch-bf16", "inductor", "fastconv-torch")}

ENGINES = {
    "fastconv": Fastconv,
    "numpy": lambda threads: Fastconv(threads, "numpy"),
    "torch": Torch,
    "torch-cl": lambda threads: Torch(threads, "channels_last"),
    "torch-bf16": lambda threads: Torch(threads, "channels_last", bf16=True),
    "inductor": lambda threads: Torch(threads, "channels_last", compiler="inductor"),
    "fastconv-torch": lambda threads: Torch(threads, "channels_last", compiler="fastconv"),
    "onnxruntime": lambda threads: Onnx(threads, "onnxruntime"),
    "openvino": lambda threads: Onnx(threads, "openvino"),
    "reference": reference,
}
