"""One engine in a process of its own: a JSON job per line on stdin, a JSON answer per line on stdout.

``worker.py ENGINE THREADS`` is started by ``compare.py``. A job is a dict of ``workload.jobs`` with

repeats, seconds : repeat at least that often and that long
save : file for the results of the first run (``.npz``), or None

The answer has ``seconds`` (one per repeat), ``first`` (the first run, compilation included), ``busy``
(processor seconds spent) or one of ``unsupported`` and ``failed`` with the reason. A job that comes again is
not prepared again.
"""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter, process_time

import numpy as np
from engines import ENGINES, Unsupported


def measure(call, repeats: int, seconds: float) -> list[float]:
    """Seconds of each run, after one that is not counted."""
    call.run(call.setup())
    times: list[float] = []
    while len(times) < repeats or sum(times) < seconds:
        state = call.setup()
        start = perf_counter()
        found = call.run(state)
        times.append(perf_counter() - start)
        del found, state  # outside the clock, and before the next run, which may want the memory
    return times


def answer(engine, job: dict, prepared: dict) -> dict:
    how = {k: job.pop(k) for k in ("repeats", "seconds", "save")}
    key, found = job.get("algorithm"), {}
    if prepared.get("job") != (name := json.dumps(job | {"algorithm": None})):
        prepared.clear()  # one job's arrays at a time
        prepared["job"] = name
    try:
        if key not in prepared:
            call = engine.prepare(job)
            state = call.setup()
            start = perf_counter()
            value = call.run(state)
            found["first"] = perf_counter() - start
            if how["save"]:
                np.savez(how["save"], *call.results(value))
            del value
            prepared[key] = call
        if how["repeats"]:
            busy = process_time()
            found["seconds"] = measure(prepared[key], how["repeats"], how["seconds"])
            found["busy"] = process_time() - busy
        return found
    except Unsupported as e:
        return {"unsupported": str(e)}
    except Exception as e:  # one engine's failure is a line of the report, not the end of the run
        return {"failed": f"{type(e).__name__}: {e}"}


def main(name: str, threads: int) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not look like an answer

    def say(message):
        print(json.dumps(message), file=out, flush=True)

    try:
        engine = ENGINES[name](threads)
    except Exception as e:  # not installed, or installed for another machine
        return say({"missing": str(e) if isinstance(e, ImportError) else f"{type(e).__name__}: {e}"})
    say({"version": engine.version()})
    prepared: dict = {}
    for line in sys.stdin:
        job = json.loads(line)
        say(engine.peak(threads) if job == "peak" else answer(engine, job, prepared))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
