"""LeNet and ResNet-18 for the peers, written once; drawn as calls of ``torch.nn.functional`` or as an ONNX
model.

For inference BatchNorm is folded into the weights on every side.
"""

from __future__ import annotations

import numpy as np
import workload

FOLD = np.float32((1 + 1e-5) ** -0.5)  # BatchNorm as it starts: mean 0, variance 1, weight 1, bias 0


def lenet(g, x, job):
    for name, size, padding in (("0", (6, 1, 5, 5), 2), ("3", (16, 6, 5, 5), 0)):
        x = g.op("avg_pool", g.op("sigmoid", g.conv(x, name, size, 1, padding)))
    x = g.op("flatten", x)
    for name, size in (("7", (120, 400)), ("9", (84, 120))):
        x = g.op("sigmoid", g.linear(x, name, size))
    return g.linear(x, "11", (job["classes"], 84))


def resnet18(g, x, job):
    small, channels = job["net"] != "resnet18", job["x"][1]
    kernel, stride = ((3, 3), 1) if small else ((7, 7), 2)
    x = g.op("relu", g.conv_norm(x, "conv1", "bn1", (64, channels, *kernel), stride))
    x, c = x if small else g.op("max_pool", x), 64
    for layer, k in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            p, stride = f"layer{layer}.{block}.", 1 if block or layer == 1 else 2
            y = g.op("relu", g.conv_norm(x, p + "conv1", p + "bn1", (k, c, 3, 3), stride))
            y = g.conv_norm(y, p + "conv2", p + "bn2", (k, k, 3, 3), 1)
            if stride == 2:
                x = g.conv_norm(x, p + "downsample.0", p + "downsample.1", (k, c, 1, 1), 2)
            x, c = g.op("relu", g.op("add", y, x)), k
    return g.linear(g.op("flatten", g.op("mean", x)), "fc", (job["classes"], 512))


NETS = {"lenet": lenet, "resnet18": resnet18, "resnet18_32": resnet18, "resnet18_28": resnet18}


class TorchGraph:
    """Runs what it is told; parameters are made when they are first asked for."""

    def __init__(self, engine, training):
        F = engine.F
        self.engine, self.F, self.training, self.params, self.buffers = engine, F, training, {}, {}
        self.ops = {
            "relu": lambda x: F.relu(x, inplace=True),
            "sigmoid": F.sigmoid,
            "add": lambda y, x: y.add_(x),
            "avg_pool": lambda x: F.avg_pool2d(x, 2),
            "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
            "mean": lambda x: F.adaptive_avg_pool2d(x, 1),
            "flatten": lambda x: x.flatten(1),
        }

    def op(self, name, *inputs):
        return self.ops[name](*inputs)

    def parameter(self, name, shape, scale=1.0):
        if name not in self.params:
            t = self.engine.tensor(workload.parameter(name, shape) * np.float32(scale))
            # A Parameter, because the compiler freezes nothing else.
            self.params[name] = self.engine.lib.nn.Parameter(t, requires_grad=self.training)
        return self.params[name]

    def conv(self, x, name, size, stride, padding, scale=1.0):
        w = self.parameter(f"{name}.weight", size, scale)
        return self.F.conv2d(x, w, self.parameter(f"{name}.bias", size[:1]), stride, padding)

    def conv_norm(self, x, name, norm, size, stride):
        if not self.training:
            return self.conv(x, name, size, stride, size[-1] // 2, FOLD)
        x = self.F.conv2d(x, self.parameter(f"{name}.weight", size), None, stride, size[-1] // 2)
        if norm not in self.buffers:
            self.buffers[norm] = [self.engine.tensor(np.full(size[0], v, np.float32)) for v in (0, 1)]
        w, b = (self.parameter(f"{norm}.{n}", size[:1]) for n in ("weight", "bias"))
        return self.F.batch_norm(x, *self.buffers[norm], w, b, True)

    def linear(self, x, name, size):
        return self.F.linear(
            x, self.parameter(f"{name}.weight", size), self.parameter(f"{name}.bias", size[:1])
        )


class OnnxGraph:
    """The same interface, writing an ONNX model of one input ``x`` and one output ``y``."""

    OPS = {
        "relu": ("Relu", {}),
        "sigmoid": ("Sigmoid", {}),
        "add": ("Add", {}),
        "flatten": ("Flatten", {}),
        "avg_pool": ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        "mean": ("GlobalAveragePool", {}),
        "max_pool": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}),
    }

    def __init__(self):
        from onnx import helper, numpy_helper

        self.helper, self.from_array, self.nodes, self.weights = helper, numpy_helper.from_array, [], []

    def node(self, kind, *inputs, **attributes):
        self.nodes.append(self.helper.make_node(kind, inputs, [f"t{len(self.nodes)}"], **attributes))
        return f"t{len(self.nodes) - 1}"

    def op(self, name, *inputs):
        kind, attributes = self.OPS[name]
        return self.node(kind, *inputs, **attributes)

    def constant(self, name, array):
        self.weights.append(self.from_array(array, name))
        return name

    def parameters(self, name, size, scale=1.0):
        """Weight and bias of a layer."""
        w = workload.parameter(f"{name}.weight", size) * np.float32(scale)
        return self.constant(f"{name}.weight", w), self.constant(
            f"{name}.bias", np.zeros(size[0], np.float32)
        )

    def conv(self, x, name, size, stride, padding, scale=1.0):
        return self.node(
            "Conv", x, *self.parameters(name, size, scale), strides=[stride] * 2, pads=[padding] * 4
        )

    def conv_norm(self, x, name, norm, size, stride):
        return self.conv(x, name, size, stride, size[-1] // 2, FOLD)

    def linear(self, x, name, size):
        return self.node("Gemm", x, *self.parameters(name, size), transB=1)

    def model(self, x_shape) -> bytes:
        """The model, whose output is the last node's."""
        value = self.helper.make_tensor_value_info
        self.nodes[-1].output[0] = "y"
        graph = self.helper.make_graph(
            self.nodes, "g", [value("x", 1, x_shape)], [value("y", 1, None)], self.weights
        )
        opset = self.helper.make_opsetid("", 17)
        return self.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
