"""1,000 steps of LeNet by ``train.fit``, twice as a graph and twice without: equal bits, steady memory."""

from __future__ import annotations

import gc
import traceback
import warnings

import workload

import fastconv as fc

from .results import Stage, check, detail, first_line, say


def train(dry: bool, graph: bool) -> dict:
    """What came out, and every bit of the weights, after a fixed number of steps."""
    epochs, images, batch = (3, 4, 1) if dry else (100, 2560, 256)
    x, y = workload.draw("x", (images, 1, 4, 4) if dry else (images, 1, 28, 28)), workload.labels(images, 10)
    fc.manual_seed(0)
    net = fc.nn.Sequential(fc.nn.Flatten(), fc.nn.Linear(16, 10)) if dry else fc.models.lenet5()
    loader = fc.data.DataLoader((x, y), batch, shuffle=True, seed=0)
    used = []

    def note(history):
        gc.collect()  # of a net that was trained before, too
        used.append(fc.cuda.memory_stats()["used_bytes"])

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        history = fc.train.fit(
            net.to("cuda"), loader, epochs=epochs, progress=False, graph=graph, callback=note
        )
    return {
        "steps": len(used) * len(loader),
        "images_per_second": history.images_per_second,
        "loss": history.train_loss,
        "grown_bytes": used[-1] - used[len(used) // 10],
        "warnings": [str(w.message) for w in given],
        "bits": [p.numpy().tobytes() for p in net.parameters()],
    }


def main(stage: Stage) -> int:
    runs, failed = {}, 0

    def judge(name, good, note=""):
        nonlocal failed
        failed += not good
        check(stage, name, "passed" if good else "failed", note=note)
        say(f"{'ok' if good else 'FAILED':6} {name}  {note}")

    for number in (1, 2):
        for how in ("graph", "steps"):
            name = f"{how}, run {number}"
            try:
                runs[name] = found = train(stage.dry, how == "graph")
            except Exception as e:
                detail(traceback.format_exc())
                judge(name, False, first_line(e))
                continue
            shown = {k: v for k, v in found.items() if k != "bits"}
            judge(name, found["grown_bytes"] <= 0 and not found["warnings"], str(shown))

    def same(a, b):
        if a in runs and b in runs:
            judge(f"the same bits: {a}; {b}", runs[a]["bits"] == runs[b]["bits"])

    same("graph, run 1", "steps, run 1")
    same("graph, run 1", "graph, run 2")
    same("steps, run 1", "steps, run 2")
    return int(failed > 0)
