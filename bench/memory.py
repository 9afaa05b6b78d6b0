"""Peak memory of a training step: ``python bench/memory.py [--net resnet18_32] [--engines
fastconv,torch,torch-cl]``.

One process per engine: the largest resident set after some steps, less what the process held with the engine
imported.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import workload

STEPS = 5


def resident() -> int:
    """Largest resident set of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(name: str, net: str, threads: int) -> int:
    """Bytes that training ``net`` adds to the process of engine ``name``."""
    from engines import ENGINES

    engine = ENGINES[name](threads)
    (job,) = [j for j in workload.jobs("net", [net], ("train",)) if j["pass"] == "train"]
    before = resident()
    call = engine.prepare(job | {"suite": "net"})
    for _ in range(STEPS):
        call.run(call.setup())
    return resident() - before


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--net", default="resnet18_32", choices=workload.NETS)
    p.add_argument("--engines", default="fastconv,torch,torch-cl")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--one", help=argparse.SUPPRESS)  # the process of one engine
    args = p.parse_args()
    if args.one:
        return print(measure(args.one, args.net, args.threads))
    for name in args.engines.split(","):
        command = [sys.executable, __file__, "--net", args.net, "--threads", str(args.threads), "--one", name]
        found = subprocess.run(command, capture_output=True, text=True)
        last = found.stdout.split()[-1] if found.returncode == 0 else None
        print(
            f"{args.net} {name:10}",
            f"{int(last) / 2**20:8.0f} MB" if last else found.stderr.strip().splitlines()[-1],
        )


if __name__ == "__main__":
    main()
