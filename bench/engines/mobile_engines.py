"""Inference with MNN and ncnn, which read their own formats: the ONNX model is converted first."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path

import numpy as np

from engines.base import Call
from engines.onnx_engines import Onnx


def converted(command, model: bytes, folder: str) -> Path:
    """Write ``model`` to ``folder`` as ``net.onnx``, run the converter there, return the folder."""
    path = Path(folder)
    (path / "net.onnx").write_bytes(model)
    done = subprocess.run(
        command, cwd=path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["it printed nothing"])[-1]
        raise RuntimeError(f"the converter ended with status {done.returncode}: {last}")
    return path


class Mnn(Onnx):
    """MNN in float32: with precision "high" it uses neither bfloat16 nor float16.

    The time is that of copying the images in, running the session and copying the result out. The copies
    are a part of it because the session's own tensors have another layout (channels in fours).
    """

    # The compiled converter of the wheel. Not ``mnnconvert`` or ``MNN.tools``: their import runs pip to
    # install a package that reports to MNN's makers.
    CONVERTER = (
        "import sys, _tools; sys.exit(not _tools.mnnconvert(['mnnconvert', '-f', 'ONNX', '--modelFile', "
        "'net.onnx', '--MNNModel', 'net.mnn', '--bizCode', 'bench']))"
    )

    def __init__(self, threads: int):
        super().__init__(threads)
        import MNN

        self.lib = MNN

    def version(self):
        return f"MNN {self.lib.version()}"

    def session(self, model, x):
        lib = self.lib
        with tempfile.TemporaryDirectory() as folder:
            path = converted([sys.executable, "-c", self.CONVERTER], model, folder)
            net = lib.Interpreter(str(path / "net.mnn"))
        session = net.createSession({"backend": "CPU", "precision": "high", "numThread": self.threads})

        def tensor(array):
            return lib.Tensor(array.shape, lib.Halide_Type_Float, array, lib.Tensor_DimensionType_Caffe)

        inner, inner_result = net.getSessionInput(session), net.getSessionOutput(session)
        memory = x, np.empty(inner_result.getShape(), np.float32)
        source, result = map(tensor, memory)

        def run(_, memory=memory):  # keeps the arrays alive: a tensor may only point at them
            inner.copyFrom(source)
            net.runSession(session)
            inner_result.copyToHostTensor(result)
            return result

        return Call(run, lambda y: [y.getNumpyData().reshape(y.getShape()).copy()])


class Ncnn(Onnx):
    """ncnn in float32, one image after the other, because its layers have no batches.

    The time is that of an extractor for each image: from the image as ``ncnn.Mat`` to the result as
    ``ncnn.Mat``.
    """

    def __init__(self, threads: int):
        super().__init__(threads)
        import ncnn

        self.lib = ncnn
        found = util.find_spec("pnnx")  # not imported, because this would import PyTorch
        if found is None:
            raise ImportError("No module named 'pnnx'")
        self.converter = str(Path(found.origin).with_name("pnnx"))

    def version(self):
        return ", ".join(f"{p} {metadata.version(p)}" for p in ("ncnn", "pnnx"))

    def model(self, job):
        return super().model(job | ({"N": 1} if job["suite"] == "conv" else {"x": [1, *job["x"][1:]]}))

    def session(self, model, x):
        net, lib = self.lib.Net(), self.lib
        net.opt.num_threads = self.threads
        for name in dir(net.opt):  # what is less than float32; the other options are the fastest by default
            if name.startswith(("use_fp16", "use_bf16", "use_int8")):
                setattr(net.opt, name, False)
        with tempfile.TemporaryDirectory() as folder:
            path = converted([self.converter, "net.onnx", "fp16=0"], model, folder)
            if net.load_param(str(path / "net.ncnn.param")) or net.load_model(str(path / "net.ncnn.bin")):
                raise RuntimeError("ncnn does not load what pnnx has made of the model: it has no such layer")
        # A Mat of an array borrows its memory without keeping the array alive; a clone has its own.
        images = [lib.Mat(image).clone() for image in x]

        def one(image):
            extractor = net.create_extractor()
            extractor.input("in0", image)
            failed, y = extractor.extract("out0")
            if failed:
                raise RuntimeError(f"ncnn's extractor ended with {failed}")
            return y

        return Call(
            lambda _: [one(image) for image in images], lambda ys: [np.stack([np.array(y) for y in ys])]
        )
