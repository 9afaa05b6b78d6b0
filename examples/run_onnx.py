"""Run an ONNX file, classify an image with it, and compare the time with ONNX Runtime's.

    python examples/run_onnx.py FILE.onnx [--image PICTURE] [--rounds 20]
    python examples/run_onnx.py --make squeezenet1_1

The second line writes the file first: a network of ``fc.models`` with random weights. The image is scaled as
ImageNet's networks expect it; without one, the input is random numbers. ONNX Runtime is timed if it is
installed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

import fastconv as fc
from fastconv.data import transforms


def write(name: str) -> Path:
    """Export a network of ``fc.models``."""
    path, net = Path(f"{name}.onnx"), fc.models.get_model(name).eval()
    fc.onnx.export(net, fc.zeros(1, 3, 224, 224), path)
    return path


def pixels(path: str, size: int) -> fc.Tensor:
    """A picture as a batch of one image, with ImageNet's mean and deviation."""
    from PIL import Image

    prepare = transforms.Compose(
        [
            transforms.Resize(size * 8 // 7),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return prepare(Image.open(path).convert("RGB")).unsqueeze(0)


def time_of(run, rounds: int) -> float:
    """Median time of a call in milliseconds, after two calls that prepare the others."""
    times = []
    for _ in range(rounds + 2):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return median(times[2:]) * 1e3


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", nargs="?", help="an ONNX file with one input, a batch of images")
    parser.add_argument("--make", metavar="NAME", help="a network of fc.models to export and run")
    parser.add_argument("--image", metavar="PICTURE", help="the image to classify (needs fastconv[images])")
    parser.add_argument("--rounds", type=int, default=20, help="calls that are timed")
    args = parser.parse_args(argv)
    if (args.file is None) == (args.make is None):
        parser.error("give an ONNX file, or --make with the name of a network")

    path = write(args.make) if args.make else Path(args.file)
    net = fc.onnx.load(path).eval()  # a module: its parameters have names, and it can be trained
    shape = [1 if n is None or isinstance(n, str) else n for n in net.inputs[0].shape or (1, 3, 224, 224)]
    x = pixels(args.image, shape[-1]) if args.image else fc.randn(*shape)

    fast = fc.optimize_for_inference(net)
    scores = fast(x).softmax(1)[0]
    for p, k in zip(*scores.topk(min(5, len(scores)))):
        print(f"class {int(k):4}: {100 * float(p):5.1f} %")
    print(f"fastconv     {time_of(lambda: fast(x), args.rounds):7.2f} ms")

    try:
        import onnxruntime
    except ImportError:
        print("ONNX Runtime is not installed")
        return
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = fc.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x.numpy()}
    np.testing.assert_allclose(fast(x).numpy(), session.run(None, feed)[0], rtol=1e-3, atol=1e-4)
    print(f"ONNX Runtime {time_of(lambda: session.run(None, feed), args.rounds):7.2f} ms")


if __name__ == "__main__":
    main()
