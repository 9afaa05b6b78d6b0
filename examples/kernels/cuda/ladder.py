"""Check the CUDA steps, and time them where there is a GPU: ``python examples/kernels/cuda/ladder.py``.

Without a GPU the kernels run under numba's simulator, on a small image and with small blocks: that checks
their arithmetic and indices. Nothing is timed then.
"""

import argparse
import ctypes
import os
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # problem.py


def has_gpu() -> bool:
    """Whether there is a driver of NVIDIA's, and numba-cuda to use it with."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return find_spec("numba_cuda") is not None


if not has_gpu():
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # read when numba.cuda is imported

import cuda1_naive  # noqa: E402
import cuda2_shared  # noqa: E402
import cuda3_tensor_cores  # noqa: E402
import numpy as np  # noqa: E402
import problem  # noqa: E402
from cuda2_shared import SIMULATED  # noqa: E402
from numba import cuda  # noqa: E402

#: Name, module, largest error allowed for results with a standard deviation of about one.
STEPS = (
    ("1 thread per result", cuda1_naive, 2e-5),
    ("2 shared memory", cuda2_shared, 2e-5),
    ("3 tensor cores (TF32)", cuda3_tensor_cores, 1e-2),
)


def least(call, runs: int = 20) -> float:
    """The least time of a call, in seconds, by the device's clock."""
    start, end = cuda.event(), cuda.event()
    times = []
    for _ in range(runs):
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(cuda.event_elapsed_time(start, end) / 1e3)
    return min(times)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(
        description="Check the CUDA steps, and time them where there is a GPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--images", type=int, default=32, help="images in the batch, where there is a GPU")
    args = parser.parse_args(argv)

    images, size, channels = (1, 4, 16) if SIMULATED else (args.images, 56, 64)
    x, w, _, _ = problem.make(images, size, channels)
    oracle = problem.oracle(x, w)
    flops = 2 * 9 * channels * oracle.size
    print(f"{images} x {channels} x {size} x {size}, 3x3, {channels} output channels, float32")
    if SIMULATED:
        print("no GPU here: checked under numba's simulator, not timed")
    for name, step, tolerance in STEPS:
        arrays = [cuda.to_device(a) for a in problem.channels_last(x, w)]
        step.conv(*arrays)
        error = float(np.abs(arrays[2].copy_to_host().transpose(0, 3, 1, 2) - oracle).max())
        if not error <= tolerance:
            raise SystemExit(f"{name}: differs from the oracle by {error:.1e}, more than {tolerance:.0e}")
        timed = ""
        if not SIMULATED:
            seconds = least(lambda: step.conv(*arrays))  # noqa: B023 - called at once
            timed = f"{seconds * 1e3:8.3f} ms {flops / seconds / 1e12:8.2f} TFLOP/s  "
        print(f"{name:24}{timed}error {error:.1e}", flush=True)


if __name__ == "__main__":
    main()
