"""What bounds the convolution kernels on a GPU, layer by layer, counted without one.

    python tools/cuda_roofline.py [--precision high] [--channels 64,128,256,512]

Each pass of a 3x3 convolution runs on one image in ``ptx_machine.py``, on the tile that the rule of choice
takes for a batch of 128 images of a ResNet-18 for 32x32 pixels. Counted are instructions of PTX per warp,
wavefronts of shared memory, bytes from the caches behind it, and multiplications by warps (``mma``; with
--precision highest, 32 multiply-adds). The table says how many cycles each part of an H200's multiprocessor
is busy for a thousand multiplications:

    tensor   1024 (TF32), 2048 (bfloat16) or 128 (float32) multiply-adds per cycle
    issue    4 instructions per cycle (the driver's own are 1.1 to 1.5 times as many)
    shared   1 wavefront per cycle
    cache    24 bytes per cycle, a 132nd of the second-level cache's 5.5 TB/s; copies through the first level
             count in full

``peak`` is the share of the tensor cores' rate that the busiest part leaves: a bound, not a measurement.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import numpy as np  # noqa: E402
import ptx_machine  # noqa: E402 - after the path to it
from cuda_report import compiler_found  # noqa: E402

MULTIPLY = {"fma": "fma.rn.f32", "tf32": "mma.sync", "bf16_on_read": "mma.sync"}
PRODUCTS = {"fma": 32, "tf32": 16 * 8 * 8, "bf16_on_read": 16 * 8 * 16}  # of one such instruction
# per cycle and multiprocessor
TENSOR, ISSUE, SHARED, CACHE = {"fma": 128, "tf32": 1024, "bf16_on_read": 2048}, 4, 1, 24
SIZES = {64: 32, 128: 16, 256: 8, 512: 4}  # of the images of a layer with so many channels
COUNTED = {"threads", "launches", "bytes", "sectors", "wavefronts", "fewest wavefronts"}
NAMES = {"fwd": "conv_fwd", "bwd_data": "conv_bwd_data", "bwd_weight": "conv_bwd_weight"}


def count(machine, engine, which, channels, mode):
    """Cycles by part for a thousand multiplications, and the tile."""
    from fastconv import spec
    from fastconv.backends.cuda.conv import cost

    def geometry(batch, size):
        return spec.conv_spec("conv2d", (batch, channels, size, size), (channels, channels, 3, 3), padding=1)

    real = np.dtype(np.float32)
    (phase,) = cost.phases(geometry(128, SIZES[channels]), which)
    plan = (cost.weight_plans if which == "bwd_weight" else cost.phase_plans)(phase, real)[0]
    one = geometry(1, 16)
    x, w, y = (engine.asarray(np.ones(s, real)) for s in (one.x_shape, one.w_shape, one.y_shape))
    arrays = {"fwd": (x, w, None), "bwd_data": (y, w), "bwd_weight": (x, y)}[which]
    machine.counts.clear()
    with cost.only_plans(cost.Plan(plan.tile, 1, 0.0)):
        getattr(engine, NAMES[which])(*arrays, one, "implicit_gemm")
    (counts,) = (c for name, c in machine.counts.items() if name.startswith("implicit"))
    n = sum(v for k, v in counts.items() if k.startswith(MULTIPLY[mode]))
    busy = {
        "tensor": PRODUCTS[mode] / TENSOR[mode],
        "issue": sum(v for k, v in counts.items() if k not in COUNTED) / n / ISSUE,
        "shared": counts["wavefronts"] / n / SHARED,
        "cache": 32 * counts["sectors"] / n / CACHE,
    }
    return plan.tile, {k: 1000 * v for k, v in busy.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--precision", default="high", choices=("highest", "high", "medium"))
    parser.add_argument("--channels", default="64,128,256,512")
    options = parser.parse_args()
    if not compiler_found():
        parser.exit(2, 'cuda_roofline: no CUDA compiler; pip install "fastconv[cu13]"\n')
    machine = ptx_machine.install(accesses=True)
    import fastconv as fc
    from fastconv.backends.cuda.conv import cost

    fc.set_float32_precision(options.precision)
    engine = fc.backends.load("cuda")
    print("| channels | pass | tile | tensor | issue | shared | cache | bound by | peak |\n|" + "---|" * 9)
    for channels in map(int, options.channels.split(",")):
        for which in NAMES:
            tile, busy = count(machine, engine, which, channels, cost.MODES[options.precision])
            most = max(busy, key=busy.get)
            cells = (f"{busy[k]:.0f}" for k in ("tensor", "issue", "shared", "cache"))
            size = f"{tile.BM}x{tile.BN}x{tile.BK}"
            peak = f"{busy['tensor'] / busy[most]:.0%}"
            print("|", " | ".join([str(channels), which, size, *cells, most, peak]), "|", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
