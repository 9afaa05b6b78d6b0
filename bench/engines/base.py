"""What every engine is: it makes a :class:`Call` of a job, or says why it does not run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import names
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
