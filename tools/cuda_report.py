"""Compile every CUDA kernel of the test cases without a GPU: registers, spills, shared memory.

    python tools/cuda_report.py [--dtypes float32,float64] [--capabilities 8.0,9.0] [--csv FILE] [--only NAME]

The cases of ``tests/support/cases.py`` are run forward and backward with launches recorded instead of
executed; each kernel is then compiled to PTX and, where ptxas is found, assembled. Ends with an error if a
kernel does not compile, spills registers or needs more of them than a block of its size may have.
"""

from __future__ import annotations

import argparse
import contextvars
import csv
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

os.environ["NUMBA_ENABLE_CUDASIM"] = "0"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fastconv.backends.cuda.codegen import compiler  # noqa: E402 - after the path to fastconv

PTXAS = {
    "registers": r"Used (\d+) registers",
    "spilled_bytes": r"(\d+) bytes spill",
    "stack_bytes": r"(\d+) bytes stack",
    "shared_bytes": r"(\d+) bytes smem",
}
FIELDS = ("kernel", "arguments", "capability", *PTXAS, "ptxas", "instructions")
NOTED = ("mma.sync", "ldmatrix", "cp.async", "ld.global.v4", "ld.shared.v4", "fma.rn.f64", "bar.sync")


def compiler_found() -> bool:
    """Whether kernels can be compiled to PTX here."""
    if find_spec("numba_cuda") is None:
        return False
    try:
        from cuda.bindings import nvvm
    except ImportError:
        return False
    try:
        nvvm.version()
    except Exception:  # its library is not there; what is raised differs between versions
        return False
    return True


def recorded(run, *arguments):
    """``run`` as in a recorded step, which reads no values on the host."""
    from fastconv import backends

    backends.recording.set(True)
    run(*arguments)


def launches(dtypes, only=None):
    """(kernel, argument types) of everything the cases launch, each once."""
    import fastconv as fc
    from fastconv.backends.cuda.runtime import device

    found = {}
    device.emulate(lambda kernel, kinds, *rest: found.setdefault((kernel, kinds)))
    from support.cases import CASES
    from support.cuda_workload import more
    from support.run import run

    with fc.backend("cuda"):
        for dtype in dtypes:
            for case in CASES:
                if (only or "") in case.name:
                    try:
                        run(case, dtype)
                    except (ValueError, IndexError):  # an op looked at values, and nothing has computed any
                        contextvars.copy_context().run(recorded, run, case, dtype)
            more(dtype)
    return list(found)


def compiled(kernel, arguments, capability, ptxas):
    """A row of the report."""
    ptx = compiler.compile_ptx(kernel, arguments, capability)
    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)[1]  # "sm_90a" where instructions need it
    row = {
        "kernel": kernel.py_func.__name__,
        "arguments": " ".join(map(str, arguments)),
        "capability": "{}.{}".format(*capability),
        "ptxas": "missing",
        "instructions": " ".join(f"{name}:{ptx.count(name)}" for name in NOTED if name in ptx),
    }
    if ptxas:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "kernel.ptx")
            source.write_text(ptx)
            run = subprocess.run(
                [ptxas, "-v", f"-arch={target}", str(source), "-o", str(source) + ".cubin"],
                capture_output=True,
                text=True,
            )
        text = run.stdout + run.stderr
        row["ptxas"] = "ok" if run.returncode == 0 else text.strip().splitlines()[0]
        for field, pattern in PTXAS.items():
            row[field] = sum(map(int, re.findall(pattern, text)))
    return row


def compile_all(dtypes, only, capability):
    """The rows of one capability, and what is wrong in them; in a process of its own."""
    ptxas, rows, bad = compiler.find_ptxas(), [], []
    for kernel, arguments in launches(dtypes, only):
        try:
            row = compiled(kernel, arguments, tuple(map(int, capability.split("."))), ptxas)
        except Exception as e:
            bad.append(f"{kernel.py_func.__name__}({arguments}): {type(e).__name__}: {e}")
            continue
        rows.append(row)
        threads = kernel.targetoptions.get("launch_bounds") or 256
        threads = threads if isinstance(threads, int) else threads[0]
        if row["ptxas"] not in ("ok", "missing"):
            bad.append(f"{row['kernel']}: ptxas: {row['ptxas']}")
        elif row["ptxas"] == "ok" and (row["spilled_bytes"] or row["registers"] * threads > 65536):
            bad.append(
                f"{row['kernel']} ({capability}, {row['arguments']}): {row['registers']} registers, "
                f"{row['spilled_bytes']} bytes spilled"
            )
    return rows, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dtypes", default="float32")
    parser.add_argument("--capabilities", default="8.0,9.0")
    parser.add_argument("--csv")
    parser.add_argument("--only")
    options = parser.parse_args()
    if not compiler_found():
        parser.exit(2, 'cuda_report: no CUDA compiler; pip install "fastconv[cu13]"\n')
    capabilities = options.capabilities.split(",")
    rows, bad = [], []
    with ProcessPoolExecutor(len(capabilities), get_context("spawn")) as pool:
        jobs = [pool.submit(compile_all, options.dtypes.split(","), options.only, c) for c in capabilities]
        for more, faults in (job.result() for job in jobs):
            rows += more
            bad += faults
    if options.csv:
        with open(options.csv, "w", newline="") as f:
            writer = csv.DictWriter(f, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
    best = {}
    for row in rows:
        name = row["kernel"]
        if name not in best or row.get("registers", 0) > best[name].get("registers", 0):
            best[name] = row
    line = "{:32}{:>10}{:>9}{:>8}{:>8}  {}".format
    print(line("kernel", "registers", "spilled", "stack", "shared", "of the variant with most registers"))
    for name, row in sorted(best.items()):
        print(line(name, *(row.get(field, "-") for field in PTXAS), row["instructions"]))
    found = "found" if compiler.find_ptxas() else "missing"
    print(f"{len(best)} kernels, {len(rows)} compilations, ptxas {found}, {len(bad)} failures")
    print(*bad, sep="\n")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
