"""The benchmark room: its shape files say what the networks are, and a comparison runs from end to end."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
sys.path.append(str(BENCH))

import report  # noqa: E402
import workload  # noqa: E402

ALL = sorted(p.stem for p in workload.SHAPES.glob("*.txt"))

# Multiply-adds of the convolutions for one image: the networks' published totals less their dense layers.
MACS = {
    "lenet": 416_520 - (400 * 120 + 120 * 84 + 84 * 10),
    "alexnet": 714_188_480 - (9216 * 4096 + 4096 * 4096 + 4096 * 1000),
    "vgg16": 15_470_264_320 - (25088 * 4096 + 4096 * 4096 + 4096 * 1000),
    "resnet18": 1_814_073_344 - 512 * 1000,
    "resnet18_32": 555_422_720 - 512 * 10,
    "resnet50": 4_089_184_256 - 2048 * 1000,
    "mobilenet": 568_740_352 - 1024 * 1000,
}


@pytest.mark.parametrize("name", ALL)
def test_shape_files(name):
    rows = workload.read_shapes(name)
    assert len({r["name"] for r in rows}) == len(rows)
    macs = sum(workload.spec_of(r).macs * r["count"] for r in rows)
    if name in MACS:
        assert macs == MACS[name] * rows[0]["N"]


def test_the_odd_shapes_cover_what_no_network_does():
    rows = workload.read_shapes("odd")
    assert {3, 5, 17} <= {r["C"] for r in rows}
    assert {1, 5, 7, 11} <= {r["kh"] for r in rows}
    assert {1, 2, 4} <= {r["stride"] for r in rows} and 1 in {r["N"] for r in rows}


def test_resnet18_parameters():
    assert sum(np.prod(s, dtype=int) for s in workload.resnet18_parameters()) == 11_689_512


def test_a_malformed_line_is_named(tmp_path):
    (tmp_path / "bad.txt").write_text("# comment\n1 2 3\n")
    with pytest.raises(ValueError, match=r"bad\.txt, line 2: expected 12 numbers and a name"):
        workload.read_shapes(str(tmp_path / "bad.txt"))
    with pytest.raises(ValueError, match="resnet18"):
        workload.read_shapes("resnet1")


def test_summary_counts_lines_for_means_and_multiplicities_for_totals():
    def line(name, count, ours, theirs):
        cells = {"fastconv": ours, "direct": 1.0, "torch": theirs, "torch-cl": 9.0, "torch-bf16": 0.1}
        cells = {c: {"time": t, "low": t, "high": t, "others": 0.0, "error": None} for c, t in cells.items()}
        shape = workload.read_shapes("lenet")[0]
        job = shape | {"suite": "conv", "set": "s", "name": name, "count": count, "pass": "fwd"}
        return {"job": job, "cells": cells, "threads": 1}

    lines = [line("a", 3, 1.0, 2.0), line("b", 1, 2.0, 16.0)]
    text = report.table(lines, list(lines[0]["cells"]), {}, "")
    # 2 and 9/2: sqrt(9) = 3; with a three times: (8 * 9/2) ** (1/4)
    assert "s fwd: ratio 3.00x (geometric mean of 2 lines; 2.45x of all 4), least 2.00x (a)" in text
    assert "total ms fastconv 5000.00, direct 4000.00, torch 22000.00" in text
    assert "within 10 % of the fastest algorithm on 1 of 2 lines" in text


def test_comparison_from_end_to_end(tmp_path):
    (tmp_path / "tiny.txt").write_text("2 1 3 6 6 4 3 3 1 1 1 1 tiny\n")
    command = [sys.executable, str(BENCH / "compare.py"), "conv", "--quick", "--rounds", "1", "--threads", "1",
               "--shapes", str(tmp_path / "tiny.txt"), "--engines", "numpy", "--out", f"{tmp_path}/out"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "out" / "times.csv").open()))
    assert [(r["name"], r["count"], r["pass"], r["engine"]) for r in rows] == [
        ("tiny", "2", "fwd", "numpy"), ("tiny", "2", "bwd", "numpy")
    ]  # fmt: skip
    assert all(float(r["milliseconds"]) > 0 and float(r["error"]) < 1e-5 for r in rows)
    machine = json.loads((tmp_path / "out" / "machine.json").read_text())
    assert machine["cores"] and "--engines numpy" in machine["command"]
    assert "tiny" in done.stdout
