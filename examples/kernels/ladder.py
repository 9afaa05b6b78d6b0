"""Check and time the steps of the ladder: ``python examples/kernels/ladder.py``; ``--help`` for options.

Each step is compared with a float64 oracle and then timed: the least of several calls, on one thread and,
from step 4 on, on all. The peak is what fastconv measures on this machine, multiply-adds that never leave the
registers.
"""

import argparse
from time import perf_counter

import numba
import numpy as np
import problem
import step1_loops
import step2_channels
import step3_registers
import step4_blocks
import step5_winograd
import step6_fused

import fastconv as fc
from fastconv.backends.cpu.runtime import machine

#: Largest error allowed; results have a standard deviation of about one. Winograd's transforms round more.
DIRECT, WINOGRAD = 2e-5, 2e-4


def steps(x, w, bias, residual):
    """``(name, call, whether it uses threads, oracle, tolerance)``; a call returns ``(N, K, H, W)``."""
    alone = problem.oracle(x, w)
    whole = np.maximum(alone + bias[:, None, None] + residual, 0)

    def line(name, step, threads, tolerance):
        arrays = step.arrange(x, w)

        def call():
            step.conv(*arrays)
            return step.result(arrays[2])

        return name, call, threads, alone, tolerance

    yield line("1 loops", step1_loops, False, DIRECT)
    yield line("2 vectors of channels", step2_channels, False, DIRECT)
    yield line("3 tile of registers", step3_registers, False, DIRECT)
    yield line("4 blocks and threads", step4_blocks, True, DIRECT)
    yield line("5 Winograd", step5_winograd, True, WINOGRAD)

    r = np.ascontiguousarray(residual.transpose(0, 2, 3, 1))
    separate = (*step5_winograd.arrange(x, w), bias, r.reshape(-1, problem.K))
    yield "5 + bias, residual, ReLU", lambda: step6_fused.unfused(*separate), True, whole, WINOGRAD
    packed = step6_fused.arrange(x, w)
    fused = (*packed, bias, r.transpose(0, 3, 1, 2), True)
    yield "6 all of it fused (fastconv)", lambda: step6_fused.conv(*fused), True, whole, WINOGRAD
    yield "  the convolution alone", lambda: step6_fused.conv(*packed), True, alone, WINOGRAD


def least(call, threads: int, seconds: float) -> float:
    """The least time of a call on ``threads`` threads, of at least three calls and ``seconds`` seconds."""
    numba.set_num_threads(threads)
    fc.set_num_threads(threads)
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return min(times)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(
        description="Check and time the steps from plain loops to fastconv's kernel.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--images", type=int, default=16, help="images in the batch")
    parser.add_argument("--size", type=int, default=56, help="rows and columns of an image, a multiple of 4")
    parser.add_argument("--threads", type=int, default=fc.get_num_threads(), help="threads from step 4 on")
    parser.add_argument("--seconds", type=float, default=1.0, help="time spent on each number")
    args = parser.parse_args(argv)
    most = numba.config.NUMBA_NUM_THREADS
    if args.size % 4 or args.size < 4 or args.images < 1 or not 1 <= args.threads <= most:
        parser.error(f"--size must be a multiple of 4, --images at least 1, --threads from 1 to {most}")

    flops = 2 * 9 * problem.C * problem.K * args.images * args.size**2
    peaks = {threads: machine.peak(threads) for threads in (1, args.threads)}
    print(
        f"{args.images} x {problem.C} x {args.size} x {args.size}, 3x3, {problem.K} output channels, float32:"
    )
    print(f"{flops / 1e9:.2f} GFLOP; {machine.processor()}")
    print(
        "peak: " + ", ".join(f"{p / 1e9:.0f} GFLOP/s on {t} thread(s)" for t, p in peaks.items()), end="\n\n"
    )
    column = "      ms  GFLOP/s  of peak"
    print(f"{'':28} |{'1 thread':^26} |{f'{args.threads} threads':^26} |")
    print(f"{'step':28} |{column} |{column} |   error")
    for name, call, threaded, oracle, tolerance in steps(*problem.make(args.images, args.size)):
        error = float(np.abs(call() - oracle).max())
        if not error <= tolerance:
            raise SystemExit(f"{name}: differs from the oracle by {error:.1e}, more than {tolerance:.0e}")
        columns = []
        for i, threads in enumerate((1, args.threads)):
            if i and not threaded:
                columns.append(f"{'-':>8} {'-':>8} {'-':>8}")
                continue
            seconds = least(call, threads, args.seconds)
            rate = flops / seconds
            columns.append(f"{seconds * 1e3:8.2f} {rate / 1e9:8.1f} {rate / peaks[threads]:8.1%}")
        print(f"{name:28} |{columns[0]} |{columns[1]} | {error:.1e}", flush=True)
    print("\nGFLOP/s counts the multiplications of the definition; Winograd's method does a quarter of them.")


if __name__ == "__main__":
    main()
