"""The benchmark room: its shape files say what the networks are, and a comparison runs from end to end."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.append(str(BENCH))

import plots  # noqa: E402
import report  # noqa: E402
import scaling_model  # noqa: E402
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


def compare(tmp_path, *options, env=None):
    (tmp_path / "tiny.txt").write_text("2 1 3 6 6 4 3 3 1 1 1 1 tiny\n")
    command = [
        sys.executable,
        str(BENCH / "compare.py"),
        "conv",
        "--quick",
        "--rounds",
        "1",
        "--threads",
        "1",
        "--shapes",
        str(tmp_path / "tiny.txt"),
        "--out",
        f"{tmp_path}/out",
        *options,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)


def test_comparison_from_end_to_end(tmp_path):
    done = compare(tmp_path, "--engines", "numpy")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "out" / "times.csv").open()))
    assert [(r["name"], r["count"], r["pass"], r["engine"]) for r in rows] == [
        ("tiny", "2", "fwd", "numpy"),
        ("tiny", "2", "bwd", "numpy"),
    ]
    assert all(float(r["milliseconds"]) > 0 and float(r["error"]) < 1e-5 for r in rows)
    machine = json.loads((tmp_path / "out" / "machine.json").read_text())
    assert machine["cores"] and "--engines numpy" in machine["command"]
    assert "tiny" in done.stdout


@pytest.mark.full
def test_a_second_run_overwrites_nothing_and_names_what_is_missing(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "times.csv").write_text("of the first run")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "onnx.py").write_text("raise ImportError(\"No module named 'onnx'\")")
    (tmp_path / "broken" / "torch.py").write_text("raise OSError('libtorch.so: wrong ELF class')")
    done = compare(
        tmp_path,
        "--engines",
        "numpy,openvino,torch",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "broken")},
    )
    assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr, done.stderr
    assert (
        "openvino is left out: No module named 'onnx'; to include it: pip install onnx openvino\n"
        in done.stdout
    )
    assert (
        "torch is left out: OSError: libtorch.so: wrong ELF class; to include it: pip install torch=="
        in done.stdout
    )
    assert (tmp_path / "out" / "times.csv").read_text() == "of the first run"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["times.csv"]
    table = (tmp_path / "out-2" / "table-1threads.txt").read_text("utf-8")
    assert table in done.stdout and f"are in {tmp_path}/out-2" in done.stdout
    legend = table.partition("The columns:\n")[2]
    for column in ("layer", "x", "pass", "numpy", "ratio"):
        assert re.search(rf"^  {column} +\w.* \w", legend, re.MULTILINE), column
    assert "openvino" not in legend and "median time in milliseconds; share of peak" in " ".join(
        legend.split()
    )


def test_a_new_folder_for_each_run(tmp_path):
    import compare

    first = tmp_path / "2026-01-01-cpu-net"
    assert compare.unused(first) == first
    first.mkdir()
    assert compare.unused(first) == first  # empty
    for i in range(2, 4):
        (compare.unused(first) / "times.csv").parent.mkdir(exist_ok=True)
        (compare.unused(first) / "times.csv").write_text("")
        assert compare.unused(first).name == f"2026-01-01-cpu-net-{i}"


@pytest.mark.full
@pytest.mark.parametrize(
    "engine, library", [("onnxruntime",) * 2, ("openvino",) * 2, ("mnn", "MNN"), ("ncnn", "pnnx")]
)
def test_engines_of_inference_compute_in_float32(engine, library, tmp_path):
    """Half precision would have an error of about 1e-3."""
    for name in ("onnx", library):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    done = compare(tmp_path, "--engines", engine)
    assert done.returncode == 0, done.stderr
    forward, backward = csv.DictReader((tmp_path / "out" / "times.csv").open())
    assert float(forward["milliseconds"]) > 0 and float(forward["error"]) < 1e-5, forward
    assert backward["note"] == "inference only"


def test_each_engine_has_a_legend_a_colour_and_a_name_in_the_options():
    import compare
    import engines

    names = set(engines.ENGINES) - {"reference"}
    assert names == {*compare.DEFAULT_ENGINES.split(","), *compare.OTHER_ENGINES.split(",")}
    assert names <= set(report.ENGINES) and set(plots.COLOURS) == set(report.ENGINES)
    assert compare.parse(["net"]).engines.split(",")[-1] == "inductor"
    assert "inductor" not in compare.parse(["conv"]).engines


def cells(**seconds):
    return {c: {"time": t, "low": t, "high": t, "others": 0.0, "error": None} for c, t in seconds.items()}


def test_the_plots_mark_the_best_peer_and_print_throughput():
    infer, train = workload.jobs("net", ["lenet"], ("infer", "train"))
    line = {"job": infer, "cells": cells(fastconv=0.5, torch=1.0, mnn=0.25, fast=0.1), "threads": 1}
    line["cells"]["torch-bf16"] = {"time": 0.01}  # fewer digits: no peer
    assert plots.best_peer(line) == "mnn" and plots.throughput(line, "mnn") == "1,024"
    assert plots.best_peer({"job": train, "cells": cells(fastconv=1.0), "threads": 1}) is None
    (job,) = workload.jobs("op", ["sgd"], ("step",))
    assert plots.throughput({"job": job, "cells": cells(numpy=0.0123)}, "numpy") == "12.3 ms"


@pytest.mark.parametrize(
    "suite, names", [("net", ["lenet", "vgg11"]), ("conv", ["lenet"]), ("op", ["sigmoid"])]
)
def test_plots_are_drawn_with_holes_and_without_pytorch(suite, names, tmp_path):
    pytest.importorskip("matplotlib")
    jobs = workload.jobs(suite, names, workload.PASSES[suite])
    some = cells(fastconv=1.0, torch=2.0, mnn=0.1) | {"ncnn": {"unsupported": "inference only"}}
    for i, columns in enumerate((some, cells(numpy=1.0), {"ncnn": {"failed": "no layer"}})):
        lines = [{"job": job, "cells": columns, "threads": 1} for job in jobs]
        lines[0] = lines[0] | {"cells": columns | {"torch": {"failed": "no memory"}}}
        folder = tmp_path / str(i)
        folder.mkdir()
        plots.plots(lines, list(columns), {}, folder, "title")
        drawn = ["roofline-1threads.png"] * (suite == "conv") + ["speed-1threads.png"]
        assert sorted(p.name for p in folder.iterdir()) == (drawn if i < 2 else [])


@pytest.mark.parametrize("suite", ["conv", "op", "net"])
def test_every_column_is_explained(suite):
    cell = {"time": 1.0, "low": 1.0, "high": 1.0, "others": 0.0, "error": 1e-7}
    shapes = {"conv": ["lenet"], "op": workload.OP_NAMES, "net": ["lenet"]}[suite]
    columns = [*report.ENGINES]
    lines = [
        {"job": job, "cells": dict.fromkeys(columns, cell), "threads": 1}
        for job in workload.jobs(suite, shapes, workload.PASSES[suite])
    ]
    text = report.table(lines, columns, {"flops": 1e9, "bytes": 1e9}, "")
    head = next(line for line in text.splitlines() if line.startswith("layer"))
    legend = text.partition("The columns:\n")[2]
    explained = re.findall(r"^  (\S+)", legend, re.MULTILINE)
    assert explained == head.split()
    for name in {line["job"]["pass"] for line in lines}:
        assert f"{name}: {report.PASSES[name].split(',')[0].split()[0]}" in " ".join(legend.split())
    assert max(map(len, legend.splitlines())) <= 120


@pytest.mark.parametrize(
    "options, message",
    [
        ("conv --rounds 0", "argument --rounds: expected whole numbers above 0, such as 1,2, got '0'"),
        ("net --threads 1,x", "argument --threads: expected whole numbers above 0, such as 1,2, got '1,x'"),
        ("net --passes fwd", "net has no pass fwd; expected some of infer, train"),
        ("op --batch 3", "--batch is about images: suites conv and net"),
        ("op --algo im2col", "--algo is about convolutions: suites conv and net"),
        ("conv --engines caffe", "unknown engine caffe; expected some of fastconv,torch"),
    ],
)
def test_wrong_options(options, message, capsys):
    import compare

    with pytest.raises(SystemExit) as e:
        compare.parse(options.split())
    assert e.value.code == 2 and message in capsys.readouterr().err


def test_the_readme_names_every_engine_command_and_column():
    text = (BENCH / "README.md").read_text("utf-8")
    import engines

    for command in set(engines.INSTALL.values()):
        assert command in text
    for file in BENCH.glob("*.py"):
        assert f"`{file.name}" in text or f"bench/{file.name}" in text, file.name
    line = {"job": workload.jobs("conv", ["lenet"], ["fwd"])[0], "cells": {"fastconv": {}}, "threads": 1}
    for column in next(report.rows(line, None)):
        assert f"`{column}`" in text, column


def test_the_loading_benchmark_runs(monkeypatch, capsys):
    """With few images and a small net; it uses the loader as a user of the package does."""
    import loading

    def net(classes, channels, small_input):
        return nn.Sequential(nn.Conv2d(channels, classes, 3, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    for name, value in (("BATCH", 4), ("IMAGES", 16), ("STEPS", 2)):
        monkeypatch.setattr(loading, name, value)
    monkeypatch.setattr(loading.models, "resnet18", net)
    with fc.backend("numpy"):
        loading.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["fashion-mnist", "cifar10"]


def test_the_model_of_a_ring():
    """Against numbers that can be computed by hand."""
    network = scaling_model.Network(gbit=8 / scaling_model.PAYLOAD, latency=0.0)  # a gigabyte per second
    ready, sizes = [0.1, 0.5, 1.0], [1 << 20, 25 << 20, 25 << 20]
    assert scaling_model.buckets(ready, sizes) == list(zip(ready, sizes))
    assert scaling_model.buckets([1.0, 2.0, 3.0], [10, 10, 10], first=15, cap=20) == [
        (1.0, 10),
        (2.0, 10),
        (3.0, 10),
    ]
    assert scaling_model.buckets([1.0, 2.0, 3.0, 4.0], [10] * 4, first=5, cap=20) == [
        (1.0, 10),
        (3.0, 20),
        (4.0, 10),
    ]
    line = {"forward": 0.5, "backward": 1.0, "ready": ready, "sizes": sizes}
    alone = scaling_model.predict(**line, nodes=1, network=network)
    assert alone.step == 1.5 and alone.efficiency == alone.hidden == 1
    two = scaling_model.predict(**line, nodes=2, network=network)
    assert two.waited == pytest.approx(
        (25 << 20) / 1e9
    )  # the last bucket is full when the backward pass ends
    assert two.network == pytest.approx(sum(sizes) / 1e9) and two.hidden == pytest.approx(26 / 51)
    after = scaling_model.predict(**line, nodes=2, network=network, overlap=False)
    assert after.waited == pytest.approx(after.network) and after.hidden == pytest.approx(0)
    many = scaling_model.predict(**line, nodes=64, network=network)
    assert many.network == pytest.approx(2 * 63 / 64 * sum(sizes) / 1e9)


def test_the_picture_of_the_readme(tmp_path):
    """Wrong results are no peers in inference, later folders replace lines, and the picture is drawn."""
    pytest.importorskip("matplotlib")
    import readme_figure

    first, second = tmp_path / "first", tmp_path / "second"
    for folder, rows in (
        (
            first,
            ("a b1,infer,torch,4,0", "a b1,infer,fastconv,2,0", "a b1,infer,mnn,1,0.5", "a b1,infer,ncnn,,"),
        ),
        (first, ("a b1,train,torch,4,0", "a b1,train,fastconv,2,0.9")),
        (first, ("b b1,train,torch,3,0", "b b1,train,fastconv,2,0")),
        (second, ("a b1,train,torch,8,0", "a b1,train,fastconv,2,0")),
    ):
        folder.mkdir(exist_ok=True)
        file = folder / "times.csv"
        text = file.read_text() if file.exists() else "name,pass,engine,milliseconds,error\n"
        file.write_text(text + "".join(row + "\n" for row in rows))
    times = readme_figure.read([first, second])
    assert times == {
        "infer": {"a b1": {"torch": 4, "fastconv": 2}},
        "train": {"a b1": {"torch": 8, "fastconv": 2}, "b b1": {"torch": 3, "fastconv": 2}},
    }
    assert [*times["train"]] == ["a b1", "b b1"]
    readme_figure.main(tmp_path / "speed.png", first, second)
    assert (tmp_path / "speed.png").read_bytes()[:4] == b"\x89PNG"
