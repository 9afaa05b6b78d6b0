"""How training scales over several ranks: ``python bench/scaling.py [--out FOLDER]``.

Without options: ResNet-18 on 32 x 32 images, 64 in all, in these configurations, which take turns:

    1 x 2        one process, two threads
    2 x 1        two ranks, one thread each; gradients are sent while the backward pass goes on
    2 x 1 after  the same, but gradients are sent after the backward pass
    torch 1 x 2, gloo 2 x 1   PyTorch in one process, and its DistributedDataParallel with gloo

``--predict`` measures when each gradient of ResNet-18, ResNet-50 and VGG-16 is ready on one rank, and
predicts 2 to 64 nodes (``scaling_model.py``). ``--network GBIT`` runs the two ranks in network namespaces
with a connection of that bandwidth, and compares with the model (Linux, as root, with ``ip`` and ``tc``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median

from compare import processor_name
from scaling_model import Network, Prediction, predict

WORKER = Path(__file__).with_name("scaling_worker.py")
NETS = (("resnet18", 224, 8), ("resnet50", 224, 4), ("vgg16", 224, 2))
GBITS = {1.0: 50e-6, 10.0: 20e-6, 25.0: 10e-6}  # Gbit/s of Ethernet, and seconds of a small message
NODES = (2, 4, 8, 16, 32, 64)


def mpiexec() -> str:
    """The ``mpiexec`` beside this Python, else that of the system."""
    own = Path(sys.executable).with_name("mpiexec")
    found = str(own) if own.exists() else shutil.which("mpiexec")
    if found is None:
        sys.exit('scaling: there is no mpiexec; pip install "fastconv[mpi]" brings one')
    return found


def answer(processes: list[subprocess.Popen]) -> dict:
    """What rank 0 prints; all must end without an error."""
    texts = [p.communicate() for p in processes]
    for p, (_, errors) in zip(processes, texts):
        if p.returncode:
            sys.exit(f"scaling: {' '.join(map(str, p.args))[:200]} failed\n{errors}")
    return json.loads(next(out for out, _ in texts if out.strip()))


def start(command: list[str], threads: int, **environment: str) -> subprocess.Popen:
    own = {"OMP_NUM_THREADS": str(threads), "FASTCONV_NUM_THREADS": str(threads), **environment}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **own}
    )


def run(job: dict, ranks: int, launcher: list[str]) -> dict:
    """One configuration, once."""
    command = [sys.executable, str(WORKER), json.dumps(job)]
    if job["engine"] == "torch":
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        jobs = [{**job, "rank": r, "ranks": ranks, "port": port} for r in range(ranks)]
        return answer([start([*command[:2], json.dumps(j)], job["threads"]) for j in jobs])
    if ranks > 1:
        command = [mpiexec(), *launcher, "-n", str(ranks), *command]
    return answer([start(command, job["threads"])])


def measure(args: argparse.Namespace) -> dict:
    """Median seconds of a step of each configuration."""
    base = {"net": "resnet18", "size": 32, "steps": args.steps, "overlap": True}
    own, n = base | {"engine": "fastconv"}, args.batch
    jobs = {
        "1 x 2": (own | {"batch": n, "threads": 2}, 1),
        "2 x 1": (own | {"batch": n // 2, "threads": 1}, 2),
        "2 x 1 after": (own | {"batch": n // 2, "threads": 1, "overlap": False}, 2),
    }
    if not args.without_torch:
        theirs = base | {"engine": "torch"}
        jobs["torch 1 x 2"] = theirs | {"batch": n, "threads": 2}, 1
        jobs["gloo 2 x 1"] = theirs | {"batch": n // 2, "threads": 1}, 2
    found: dict[str, list[dict]] = {name: [] for name in jobs}
    for _ in range(args.rounds):
        for name, (job, ranks) in jobs.items():
            found[name].append(run(job, ranks, args.launcher.split()))
            print(
                f"{name:12} {1e3 * median(found[name][-1]['seconds']):8.1f} ms", file=sys.stderr, flush=True
            )
    return {name: summary(results) for name, results in found.items()}


def summary(results: list[dict]) -> dict:
    """The medians over the rounds."""
    keys = [k for k in results[0] if k != "seconds"]
    step = median(median(r["seconds"]) for r in results)
    return {"step": step, **{k: median(r[k] for r in results) for k in keys}}


def table(found: dict, batch: int) -> str:
    """The results as text."""
    lines = [f"{'':14}{'ms':>8}{'images/s':>10}{'MB':>7}{'copied':>8}{'buckets':>9}{'waited ms':>11}"]
    for name, r in found.items():
        line = f"{name:14}{1e3 * r['step']:8.1f}{batch / r['step']:10.1f}"
        if r.get("bytes"):
            line += f"{r['bytes'] / 1e6:7.1f}{r['copied'] / r['bytes']:8.1%}{r['buckets']:9.0f}"
            line += f"{1e3 * r['waited']:11.1f}"
        lines.append(line)
    two, after = found["2 x 1"], found["2 x 1 after"]
    hidden = 1 - two["waited"] / after["waited"] if after["waited"] else 1.0
    lines.append(
        f"2 ranks x 1 thread against 1 process x 2 threads: {found['1 x 2']['step'] / two['step']:.3f}x"
    )
    lines.append(f"time of the transfers that the backward pass hides: {hidden:.0%}")
    if "gloo 2 x 1" in found:
        lines.append(f"against gloo with 2 ranks: {found['gloo 2 x 1']['step'] / two['step']:.2f}x")
    return "\n".join(lines)


def predictions(args: argparse.Namespace) -> dict:
    """Measured timelines, and what the model makes of them."""
    found = {}
    for net, size, batch in NETS:
        job = {"engine": "fastconv", "net": net, "size": size, "batch": batch, "threads": args.threads}
        line = run(job | {"timeline": True, "steps": 0, "overlap": True}, 1, [])
        rows = []
        for gbit, latency in GBITS.items():
            for nodes in NODES:
                p = predict(**line, nodes=nodes, network=Network(gbit, latency, args.work))
                rows.append({"gbit": gbit, "nodes": nodes, **values(p)})
        found[net] = {"size": size, "batch": batch, **line, "predictions": rows}
        print(prediction_table(net, found[net]), flush=True)
    return found


def values(p: Prediction) -> dict[str, float]:
    return {**asdict(p), "efficiency": p.efficiency, "hidden": p.hidden}


def prediction_table(net: str, found: dict) -> str:
    alone, size = found["forward"] + found["backward"], sum(found["sizes"]) / 1e6
    lines = [
        f"{net}, {found['batch']} images of {found['size']} x {found['size']} per node: "
        f"{1e3 * alone:.0f} ms a step, {size:.0f} MB of gradients; efficiency (hidden share of the transfers)"
    ]
    lines.append(f"{'nodes':>8}" + "".join(f"{n:>14}" for n in NODES))
    for gbit in GBITS:
        cells = [r for r in found["predictions"] if r["gbit"] == gbit]
        shown = "".join(f"{r['efficiency']:>7.0%} ({r['hidden']:4.0%})" for r in cells)
        lines.append(f"{gbit:>5.0f} GbE{shown}")
    return "\n".join(lines) + "\n"


# --------------------------------------------------------------------------------------- network namespaces
def shell(text: str) -> None:
    subprocess.run(text.split(), check=True)


def wait_until_up(namespace: str, device: str) -> None:
    """Wait until the kernel calls a device up, which takes up to a second: before, MPI does not use it."""
    command = f"ip -n {namespace} link show {device}".split()
    for _ in range(100):
        if "state UP" in subprocess.run(command, check=True, capture_output=True, text=True).stdout:
            return
        time.sleep(0.1)
    raise SystemExit(f"scaling: {device} in the network namespace {namespace} does not come up")


@contextlib.contextmanager
def namespaces(gbit: float) -> Iterator[list[str]]:
    """Two namespaces with a connection of this bandwidth; gives the options of ``mpiexec`` that use them."""
    names, hosts = ("fastconv0", "fastconv1"), ("10.77.0.1", "10.77.0.2")
    try:
        for name in names:
            shell(f"ip netns add {name}")
        shell(f"ip link add veth0 netns {names[0]} type veth peer name veth1 netns {names[1]}")
        for i, (name, host) in enumerate(zip(names, hosts)):
            shell(f"ip -n {name} addr add {host}/24 dev veth{i}")
            shell(f"ip -n {name} link set veth{i} up")
            shell(f"ip -n {name} link set lo up")
            rate = f"rate {gbit * 1000:.0f}mbit burst 1mb latency 50ms"
            shell(f"tc -n {name} qdisc add dev veth{i} root tbf {rate}")
        for i, name in enumerate(names):
            wait_until_up(name, f"veth{i}")
        with tempfile.TemporaryDirectory() as folder:
            remote = Path(folder) / "remote"  # called in place of ssh: [-x] HOST COMMAND
            cases = "".join(
                f'{h}) shift; exec ip netns exec {n} sh -c "$*" ;;\n' for n, h in zip(names, hosts)
            )
            remote.write_text(
                f'#!/bin/sh\nwhile [ "${{1#-}}" != "$1" ]; do shift; done\ncase $1 in\n{cases}esac\n'
            )
            remote.chmod(0o755)
            yield [
                *("ip", "netns", "exec", names[0], mpiexec(), "-launcher", "ssh"),
                *("-launcher-exec", str(remote), "-hosts", ",".join(hosts), "-localhost", hosts[0]),
            ]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def on_network(args: argparse.Namespace) -> dict:
    """Two ranks over a connection of limited bandwidth, measured and predicted."""
    job = {"engine": "fastconv", "net": "resnet18", "size": 32, "batch": args.batch // 2, "threads": 1}
    line = run(job | {"timeline": True, "steps": 0, "overlap": True}, 1, [])
    found = {"timeline": line}
    with namespaces(args.network) as launcher:
        for name, overlap in (("2 x 1", True), ("2 x 1 after", False)):
            worker = [
                sys.executable,
                str(WORKER),
                json.dumps(job | {"steps": args.steps, "overlap": overlap}),
            ]
            command = [*launcher, "-n", "2", "-ppn", "1", *worker]
            measured = summary([answer([start(command, 1, FI_PROVIDER="tcp", UCX_TLS="tcp,self")])])
            network = Network(args.network, GBITS.get(args.network, 50e-6), args.work)
            p = predict(**line, nodes=2, network=network, overlap=overlap)
            found[name] = {"measured": measured, "predicted": values(p)}
            times = [1e3 * t for t in (measured["step"], measured["waited"], p.step, p.waited)]
            words = "step {:.0f} ms, waited {:.0f} ms; predicted {:.0f} ms, waited {:.0f} ms".format(*times)
            print(f"{args.network:g} Gbit/s, {name}: {words}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    option = parser.add_argument
    option("--batch", type=int, default=64, help="images per step of all ranks (default: 64)")
    option("--steps", type=int, default=10, help="timed steps of a round (default: 10)")
    option("--rounds", type=int, default=3, help="how often each configuration runs (default: 3)")
    option("--threads", type=int, default=1, help="with --predict: threads of a node (default: 1)")
    option("--launcher", default="-bind-to core", help="options of mpiexec (default: -bind-to core)")
    option("--work", type=float, default=0.0, help="seconds of a processor per byte sent, for the model")
    option("--without-torch", action="store_true", help="leave out PyTorch")
    option("--predict", action="store_true", help="predict 2 to 64 nodes")
    option("--network", type=float, metavar="GBIT", help="two ranks over a connection of this bandwidth")
    option("--out", type=Path, help="folder for results.json and table.txt")
    args = parser.parse_args()
    if args.predict:
        found, text = predictions(args), ""
        text = "\n".join(prediction_table(net, rows) for net, rows in found.items())
    elif args.network:
        found = on_network(args)
        text = json.dumps({k: v for k, v in found.items() if k != "timeline"}, indent=1)
    else:
        found = measure(args)
        text = table(found, args.batch)
        print(text)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        head = {"processor": processor_name(), "command": sys.argv[1:]}
        (args.out / "results.json").write_text(json.dumps(head | {"found": found}, indent=1))
        (args.out / "table.txt").write_text(f"{processor_name()}; {' '.join(sys.argv)}\n{text}\n")


if __name__ == "__main__":
    main()
