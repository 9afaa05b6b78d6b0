"""What ``compare.py`` prints of its lines: ``{"job", "threads", "cells": {column: cell}}``."""

from __future__ import annotations

from statistics import geometric_mean, median
from textwrap import wrap

import workload

ENGINES = {
    "fastconv": "fastconv's cpu backend, which chooses the algorithm of each convolution",
    "depthwise": "fastconv, convolutions with one filter per channel by kernels of their own",
    "direct": "fastconv, every convolution by direct summation",
    "im2col": "fastconv, every convolution as a matrix product of gathered windows",
    "winograd": "fastconv, every convolution by Winograd's algorithm, where that applies",
    "numpy": "fastconv's reference in plain NumPy",
    "torch": "PyTorch, images channels-first in memory",
    "torch-cl": "PyTorch, images channels-last in memory",
    "torch-bf16": "PyTorch in bfloat16 (autocast), channels-last: fewer digits, so it counts in no ratio",
    "inductor": "torch.compile with its own backend (inference: with frozen weights), channels-last",
    "fastconv-torch": 'torch.compile(net, backend="fastconv"), channels-last; it counts in no ratio',
    "onnxruntime": "ONNX Runtime, forward only",
    "openvino": "OpenVINO in float32, forward only",
    "mnn": "MNN in float32, forward only",
    "ncnn": "ncnn in float32, forward only; a batch is its images one after the other",
}
PASSES = {
    "fwd": "forward",
    "bwd": "backward, for the input and the weight",
    "bwd_data": "backward, for the input alone",
    "bwd_weight": "backward, for the weight alone",
    "step": "forward and backward, or an update, in one",
    "infer": "forward, for inference",
    "train": "training step: forward, backward, update",
}
PYTORCH = ("torch", "torch-cl")  # its float32 layouts; bfloat16 is shown and not counted
PEERS = (*PYTORCH, "inductor", "onnxruntime", "openvino", "mnn", "ncnn")
FORCED = ("depthwise", "direct", "im2col", "winograd")


def label(line) -> str:
    """A line's name in tables and plots."""
    job = line["job"]
    return f"{job['set']} {job['name']}" if job["suite"] == "conv" else job["name"]


def time_of(line, column):
    """Median seconds, or None."""
    return line["cells"].get(column, {}).get("time")


def ratio(line, others):
    """How many times faster than the best of ``others`` fastconv is, or None."""
    ours, theirs = time_of(line, "fastconv"), [t for c in others if (t := time_of(line, c))]
    return min(theirs) / ours if ours and theirs else None


def share(line, column, peak):
    """Share of the measured peak, of single ops of the measured copy rate; or None."""
    t, job = time_of(line, column), line["job"]
    if not t or not peak:
        return None
    single = job["suite"] == "op"
    work = workload.bytes_moved(job) if single else workload.flops(job)
    return None if work is None else work / t / peak["bytes" if single else "flops"]


def rows(line, peak):
    """A line as rows of the CSV file, one per column."""
    job = line["job"]
    for column, cell in line["cells"].items():
        t, work = cell.get("time"), workload.flops(job)
        s = share(line, column, peak)
        r = ratio(line, PYTORCH) if column == "fastconv" else None
        yield {
            "suite": job["suite"],
            "set": job["set"],
            "name": job["name"],
            "count": job["count"],
            "pass": job["pass"],
            "threads": line["threads"],
            "engine": column,
            "milliseconds": t and round(t * 1e3, 5),
            "low": t and round(cell["low"] * 1e3, 5),
            "high": t and round(cell["high"] * 1e3, 5),
            "gflops": t and work and round(work / t / 1e9, 2),
            "share": s and round(s, 4),
            "images_per_second": round(job["x"][0] / t, 2) if t and job["suite"] == "net" else None,
            "error": t and cell["error"] and float(f"{cell['error']:.2g}"),
            "ratio": r and round(r, 3),
            "first_run_seconds": t and round(cell["first"], 4),
            "others_share": t and round(cell["others"], 3),
            "note": cell.get("unsupported") or cell.get("failed"),
        }


def table(lines, columns, peak, title) -> str:
    """The comparison as text: times in ms (networks: images/s), share of peak, error; ratio last."""
    net = lines[0]["job"]["suite"] == "net"
    wide = max(len(label(line)) for line in lines) + 1
    extra = any(time_of(line, c) for line in lines for c in PEERS[2:])
    unit = "images/s" if net else "ms"
    out = [title]
    if peak:
        out.append(f"measured peak {peak['flops'] / 1e9:.0f} GFLOP/s, copy {peak['bytes'] / 1e9:.1f} GB/s")
    rate = "the copy rate" if lines[0]["job"]["suite"] == "op" else "peak"
    out += [
        f"each cell: {unit}, share of {rate}, relative error; every column is explained below the table",
        "",
    ]
    head = f"{'layer':{wide}}{'x':>3} {'pass':10}" + "".join(f"{c:>20}" for c in columns)
    out.append(head + "   peers" * extra + "   ratio")
    for line in lines:
        job = line["job"]
        text = f"{label(line):{wide}}{job['count']:>3} {job['pass']:10}"
        for c in columns:
            t, s = time_of(line, c), share(line, c, peak)
            if t is None:
                text += f"{'-':>20}"
                continue
            error = line["cells"][c]["error"]
            text += f"{job['x'][0] / t if net else t * 1e3:9.{1 if net else 3}f}"
            text += f"{'' if s is None else f'{s:.0%}':>5}{'' if error is None else f'{error:.0e}':>7}"
        for others in (PEERS, PYTORCH) if extra else (PYTORCH,):
            r = ratio(line, others)
            text += f"{'-' if r is None else f'{r:.2f}x':>8}"
        out.append(text)
    return "\n".join(
        [*out, "", *_summary(lines, columns), *_notes(lines), "", *_legend(lines, columns, unit, rate, extra)]
    )


def _legend(lines, columns, unit, rate, extra):
    """What each column of the table is."""
    what = {
        "conv": "shape file and layer",
        "op": "op and the shape of its input",
        "net": "network, b and the batch size",
    }
    passes = dict.fromkeys(line["job"]["pass"] for line in lines)
    speed = "images per second, from the median time" if unit == "images/s" else "median time in milliseconds"
    explained = {
        "layer": what[lines[0]["job"]["suite"]],
        "x": "how many layers of this shape the network has; totals count them all",
        "pass": "; ".join(f"{p}: {PASSES[p]}" for p in passes),
        **{c: ENGINES[c] for c in columns},
        "": f"in each of these: {speed}; share of {rate} as measured on this machine (speed counted as "
        "direct summation, so Winograd may pass 100 %); largest error, relative to the largest value of a "
        "float64 result. - is no value; why stands above",
        **(
            {"peers": "time of the fastest float32 engine of another library over fastconv's"}
            if extra
            else {}
        ),
        "ratio": "time of PyTorch's faster layout over fastconv's: 2.00x is twice as fast as PyTorch, 0.50x "
        "half as fast",
    }
    yield "The columns:"
    for name, text in explained.items():
        yield from wrap(text, 118, initial_indent=f"  {name:12} ", subsequent_indent=" " * 15)


def _summary(lines, columns):
    """Means of the ratios, totals with multiplicities, and how good the automatic choice is, per pass."""
    for where, which in dict.fromkeys((line["job"]["set"], line["job"]["pass"]) for line in lines):
        mine = [line for line in lines if (line["job"]["set"], line["job"]["pass"]) == (where, which)]
        ratios = {line["job"]["name"]: r for line in mine if (r := ratio(line, PYTORCH))}
        if ratios:
            worst = min(ratios, key=ratios.get)
            every = [
                r for line in mine if (r := ratio(line, PYTORCH)) for _ in range(line["job"].get("count", 1))
            ]
            yield (
                f"{where} {which}: ratio {geometric_mean(ratios.values()):.2f}x "
                f"(geometric mean of {len(ratios)} lines; {geometric_mean(every):.2f}x of all {len(every)}), "
                f"least {ratios[worst]:.2f}x ({worst})"
            )
        totals = {c: [time_of(line, c) for line in mine] for c in columns}
        counts = [line["job"]["count"] for line in mine]
        full = {c: sum(n * t for n, t in zip(counts, ts)) for c, ts in totals.items() if None not in ts}
        if mine[0]["job"]["suite"] == "conv" and full:
            yield f"{where} {which}: total ms " + ", ".join(f"{c} {t * 1e3:.2f}" for c, t in full.items())
    forced = [[t for c in FORCED if (t := time_of(line, c))] for line in lines]
    near = [t <= 1.1 * min(f) for line, f in zip(lines, forced) if f and (t := time_of(line, "fastconv"))]
    if near:
        yield f"auto is within 10 % of the fastest algorithm on {sum(near)} of {len(near)} lines"
    others = [cell["others"] for line in lines for cell in line["cells"].values() if "time" in cell]
    if others:
        yield f"other processes used {median(others):.0%} of the machine (median), {max(others):.0%} at worst"


def _notes(lines):
    """Every hole of the table with its reason."""
    notes: dict[str, int] = {}
    for line in lines:
        for c, cell in line["cells"].items():
            if "time" not in cell:
                note = f"{c}: {cell.get('unsupported') or cell.get('failed')}"
                notes[note] = notes.get(note, 0) + 1
    return [f"- {note} ({n} of {len(lines)} lines)" for note, n in notes.items()]
