"""Inference through an ONNX model: ONNX Runtime and OpenVINO."""

from __future__ import annotations

import io

import networks
import numpy as np
import user_networks
import workload

from engines.base import Call, Engine, Unsupported
from engines.torch_engine import Torch


class Onnx(Engine):
    """An engine that reads ONNX models. A subclass sets ``lib`` and has ``session``."""

    def __init__(self, threads: int):
        import onnx  # noqa: F401 - networks.OnnxGraph needs it

        self.threads = threads

    def prepare(self, job):
        if job["pass"] not in ("fwd", "infer"):
            raise Unsupported("inference only")
        shape = workload.spec_of(job).x_shape if job["suite"] == "conv" else job["x"]
        return self.session(self.model(job), workload.aligned(workload.draw("x", shape)))

    def session(self, model: bytes, x: np.ndarray) -> Call:
        raise NotImplementedError

    def model(self, job) -> bytes:
        """The job as an ONNX model from ``x`` to ``y``."""
        if job.get("net") in user_networks.SHAPES:
            return self.exported(job)
        g, shape = networks.OnnxGraph(), job.get("x")
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
        return g.model(shape)

    def exported(self, job):
        """A user's network, written to ONNX by PyTorch."""
        import torch

        peer, model = Torch(self.threads), io.BytesIO()
        net, _ = peer.user_network(job, training=False)
        x = peer.like(workload.draw("x", job["x"]))
        torch.onnx.export(net, (x,), model, input_names=["x"], output_names=["y"], dynamo=False)
        return model.getvalue()


class OnnxRuntime(Onnx):
    def __init__(self, threads: int):
        super().__init__(threads)
        import onnxruntime

        self.lib = onnxruntime

    def session(self, model, x):
        options = self.lib.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = self.lib.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return Call(lambda _: session.run(None, {"x": x}), list)


class OpenVino(Onnx):
    def __init__(self, threads: int):
        super().__init__(threads)
        import openvino

        self.lib = openvino

    def session(self, model, x):
        # Without the hint OpenVINO computes in bfloat16 where the processor can.
        hints = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
        }
        core = self.lib.Core()
        request = core.compile_model(core.read_model(model), "CPU", hints).create_infer_request()
        return Call(lambda _: request.infer({0: x}, share_inputs=True, share_outputs=True)[0], lambda y: [y])
