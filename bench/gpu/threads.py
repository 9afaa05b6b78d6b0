"""Training steps on this machine's processor by threads."""

from __future__ import annotations

from statistics import median

import workload
from compare import Worker

from .results import Stage, check, say


def counts(dry: bool) -> list[int]:
    cpus = 1 if dry else workload.available_cpus()
    return list(dict.fromkeys([*(2**i for i in range(cpus.bit_length())), cpus]))


def main(stage: Stage) -> int:
    nets, which = (["lenet"], "infer") if stage.dry else (["lenet", "resnet18_32"], "train")
    jobs = workload.jobs("net", nets, [which], batches=[1 if stage.dry else None])
    first, failed = {}, 0
    for threads in counts(stage.dry):
        worker = Worker("numpy" if stage.dry else "fastconv", threads)
        if not worker.ready():
            say(f"FAILED {worker.missing}")
            return 1
        for job in jobs:
            if stage.left() < 8:
                say(f"not timed, the time is up: {job['name']}, {threads} threads")
                continue
            answer = worker.ask(job | {"repeats": 1 if stage.dry else 3, "seconds": 0.0, "save": None})
            name, times = f"{job['name']} {which}, {threads} threads", answer.get("seconds")
            if not times:
                failed += 1
                check(stage, name, "failed", note=str(answer))
                say(f"FAILED {name}: {answer}")
                continue
            ratio = first.setdefault(job["name"], median(times)) / median(times)
            check(
                stage, name, "passed", seconds=median(times), value=ratio, note="value: times as fast as one"
            )
            say(f"{name}: {1e3 * median(times):.2f} ms, {ratio:.2f} times as fast as one")
        worker.close()
    return int(failed > 0)
