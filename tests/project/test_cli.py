"""The command line: doctor, warmup, cache, summary, train, bench; clean errors."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import backends, cli, data, models, nn, optim, train
from fastconv.backends import settings
from fastconv.cli.parser import make_parser

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_lenet.py"
# the package under test, installed or not
HERE = {**os.environ, "PYTHONPATH": str(Path(fc.__file__).parent.parent)}


@pytest.fixture(autouse=True)
def restore(monkeypatch):
    """What a command sets for its process is undone after each test."""
    monkeypatch.setattr(backends.registry, "chosen", backends.registry.chosen)
    monkeypatch.setattr(settings, "chosen_threads", settings.chosen_threads)


@pytest.fixture
def few(monkeypatch):
    """600 + 100 real images, with a note as for the fallback."""
    sets = (data.FashionMNISTMini(True), 600), (data.FashionMNISTMini(False), 100)
    for s, n in sets:
        s.images, s.labels = s.images[:n], s.labels[:n]
    small = [s for s, _ in sets]
    monkeypatch.setattr(
        data, "fashion_mnist_or_mini", lambda root, download: (*small, f"few of {root}, {download}")
    )


def lenet(out, *options):
    return cli.main(["train", "lenet", "--backend", "numpy", "--out", str(out), "--quiet", *options])


@pytest.fixture
def narrow(monkeypatch):
    """A small net in place of ResNet-18; notes what it was asked for."""
    asked = []

    def net(num_classes, in_channels, small_input):
        asked.append((num_classes, in_channels, small_input))
        return nn.Sequential(
            nn.Conv2d(in_channels, 4, 3, 2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(64, num_classes),
        )

    monkeypatch.setattr(models, "resnet18", net)
    return asked


def resnet18(out, *options):
    return cli.main(["train", "resnet18", "--backend", "numpy", "--out", str(out), "--quiet", *options])


def files(folder):
    """What lies in ``folder``, and the pictures that should."""
    pictures = (
        ["confusion_matrix.png", "learning_curve.png"] if importlib.util.find_spec("matplotlib") else []
    )
    return sorted(p.name for p in folder.iterdir()), pictures


def test_train_resnet18(tmp_path, few, narrow, capsys):
    assert resnet18(tmp_path, "--epochs", "2", "--pad-crop", "2", "--cutout", "6", "--no-download") == 0
    out = capsys.readouterr().out
    assert "Note: few of None, False; 2 epochs" in out and narrow == [(10, 1, True)]
    there, pictures = files(tmp_path)
    assert there == sorted(
        [*pictures, "history.csv", "resnet18.npz", "resnet18.previous.npz", "weights.safetensors"]
    )
    saved = fc.load(tmp_path / "resnet18.npz")
    group = saved["optimizer"]["param_groups"][0]
    assert group["nesterov"] and group["weight_decay"] == 5e-4
    assert saved["scheduler"]["total_steps"] == 20  # 600 images in batches of 64, twice
    net = models.resnet18(10, 1, True)
    net.load_state_dict(fc.load(tmp_path / "weights.safetensors"))
    tests = data.FashionMNISTMini(False)
    images, labels = tests.images[:100] / np.float32(255), tests.labels[:100]
    accuracy = train.evaluate(net, [((images - np.float32(0.2860)) / np.float32(0.3530), labels)])[1]
    assert f"test acc {accuracy:.4f}\n" in out


def test_train_resnet18_on_cifar10(tmp_path, narrow, monkeypatch, capsys):
    monkeypatch.setattr(data.files, "CIFAR_RECORDS", 20)
    records = np.random.default_rng(0).integers(0, 256, (20, 3073), np.uint8)
    records[:, 0] %= 10
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (tmp_path / name).write_bytes(records.tobytes())
    out = tmp_path / "out"
    options = [
        "--dataset",
        "cifar10",
        "--data",
        str(tmp_path),
        "--no-download",
        "--schedule",
        "cosine",
        "--epochs",
        "2",
    ]
    assert resnet18(out, *options, "--batch-size", "10", "--label-smoothing", "0", "--no-flip") == 0
    assert narrow == [(10, 3, True)]
    with open(out / "history.csv", newline="") as f:
        lrs = [float(r["lr"]) for r in csv.DictReader(f)]
    assert lrs == pytest.approx([0.1 * (1 + np.cos(np.pi * t / 20)) / 2 for t in range(1, 20, 2)], abs=1e-6)
    assert resnet18(out, *options, "--batch-size", "10", "--epochs", "4") == 2
    err = capsys.readouterr().err
    assert "was trained with steps (--epochs) 20, now 40; give the same, another --out, or --no-resume" in err
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "FASTCONV_DATA"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setattr(data.files, "SYSTEM_FOLDERS", ())
    assert resnet18(out, *options[:2], "--no-download") == 2  # nothing in the package stands in for CIFAR-10
    assert "CIFAR10: no data files" in capsys.readouterr().err


def test_time_limit_then_resume(tmp_path, few, narrow, capsys):
    options = ["--epochs", "2", "--cutout", "4", "--checkpoint-every", "7"]
    assert resnet18(tmp_path / "whole", *options) == 0
    assert "Stopped" not in capsys.readouterr().out
    stops = 0
    while True:
        assert resnet18(tmp_path / "parts", *options, "--time-limit", "0.005") == 0
        out = capsys.readouterr().out
        assert "test acc" in out
        if "Stopped" not in out:
            break
        assert "Stopped (time limit); the same command continues" in out
        stops += 1
    assert stops > 0
    whole, parts = ((tmp_path / folder / "weights.safetensors").read_bytes() for folder in ("whole", "parts"))
    assert whole == parts


def test_the_recipe_learns(tmp_path, few, narrow):
    """The defaults, on a net that trains in seconds."""
    assert resnet18(tmp_path, "--epochs", "15") == 0
    with open(tmp_path / "history.csv", newline="") as f:
        assert float(list(csv.DictReader(f))[-1]["test_accuracy"]) > 0.6


@pytest.mark.parametrize("classic", [False, True])
def test_train_lenet(tmp_path, few, capsys, classic):
    options = ["--classic"] if classic else []
    assert lenet(tmp_path, "--epochs", "2", "--batch-size", "100", "--no-download", *options) == 0
    out = capsys.readouterr().out
    assert "Note: few of None, False" in out
    assert re.search(r"^loss \d\.\d{3}, train acc 0\.\d{3}, test acc 0\.\d{4}$", out, re.MULTILINE)
    assert re.search(r"^\d+\.\d examples/sec on cpu \(numpy backend\)$", out, re.MULTILINE)
    with open(tmp_path / "history.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    if classic:
        assert [float(r["lr"]) for r in rows] == [0.9] * 10
    else:  # it rises to 0.1 and falls, and the net learns
        assert max(float(r["lr"]) for r in rows) > 0.09 and float(rows[-1]["lr"]) < 1e-3
        assert float(rows[-1]["test_accuracy"]) > 0.4
    there, pictures = files(tmp_path)
    assert there == sorted(
        [*pictures, "history.csv", "lenet.npz", "lenet.previous.npz", "weights.safetensors"]
    )
    assert all((tmp_path / p).read_bytes()[:4] == b"\x89PNG" for p in pictures)
    saved = fc.load(tmp_path / "lenet.npz")
    models.lenet5().load_state_dict(saved["net"])
    assert ("Sigmoid()" in saved["asked"]["net"].values()) == classic


def test_the_two_recipes_have_folders_of_their_own(tmp_path, few, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for option in ([], ["--classic"]):
        assert cli.main(["train", "lenet", "--backend", "numpy", "--quiet", "--epochs", "0", *option]) == 0
    assert sorted(os.listdir(tmp_path / "runs")) == ["lenet", "lenet-classic"]


def test_train_lenet_is_reproducible_and_resumes(tmp_path, few, capsys):
    def weights(folder):
        return fc.load(tmp_path / folder / "lenet.npz")["net"]["0.weight"].numpy()

    common = ["--batch-size", "200"]
    for folder, options in (("a", []), ("b", []), ("c", ["--seed", "1"])):
        assert lenet(tmp_path / folder, *common, "--epochs", "2", *options) == 0
    assert np.array_equal(weights("a"), weights("b")) and not np.array_equal(weights("a"), weights("c"))
    assert "Nothing was left to train" not in capsys.readouterr().out
    before = (tmp_path / "a" / "lenet.npz").read_bytes()
    for options in ([], ["--resume"]):  # nothing left to do
        assert lenet(tmp_path / "a", *common, "--epochs", "2", *options) == 0
        out = capsys.readouterr().out
        assert (
            "Nothing was left to train; --no-resume starts anew" in out
            and "loss " in out
            and "test acc " in out
        )
    assert (tmp_path / "a" / "lenet.npz").read_bytes() == before
    assert lenet(tmp_path / "a", *common, "--epochs", "1", "--no-resume") == 0
    assert fc.load(tmp_path / "a" / "lenet.npz")["at"]["epoch"] == 1


def test_resume_speaks_the_words_of_the_command_line(tmp_path, few, capsys):
    def run(*options, quiet=False):
        code = cli.main(
            [
                "train",
                "lenet",
                "--classic",
                "--backend",
                "numpy",
                "--out",
                str(tmp_path),
                "--no-download",
                *["--quiet"] * quiet,
                *options,
            ]
        )
        return code, *capsys.readouterr()

    code, out, _ = run("--resume", "--epochs", "1", "--batch-size", "200")
    assert code == 0 and f"--resume: there is no checkpoint in {tmp_path}; a new run begins" in out
    code, out, _ = run("--epochs", "2", "--batch-size", "200", "--lr", "0.5")
    assert code == 0 and f"Resuming {tmp_path / 'lenet.npz'}: epoch 2 of 2, step 1 of 3\n" in out
    assert "Not as when that run began: lr 0.9, now 0.5. What is asked for now counts\n" in out
    code, out, err = run("--epochs", "3", "--batch-size", "200", quiet=True)
    assert code == 0 and "Not as" not in out
    assert (
        err.startswith("fastconv: warning: fit: resuming")
        and "lr 0.5, now 0.9" in err
        and err.count("\n") == 1
    )
    for options, words in (
        (["--batch-size", "100"], "was trained with --batch-size 200, now 100"),
        (["--batch-size", "200", "--seed", "3"], "seed 0, now 3"),
    ):
        code, _, err = run(*options)
        assert code == 2 and words in err and "; give the same, another --out, or --no-resume" in err
    with pytest.raises(SystemExit):
        run("--resume", "--no-resume")


def test_ctrl_c_keeps_what_was_learnt(tmp_path, few, monkeypatch, capsys):
    fit = train.fit

    def interrupted(*args, **options):
        loss, calls = fc.nn.CrossEntropyLoss(), iter(range(99))

        def stop_at_the_third(out, y):
            if next(calls) == 2:
                signal.raise_signal(signal.SIGINT)
            return loss(out, y)

        return fit(*args, **options, loss=stop_at_the_third)

    monkeypatch.setattr(train, "fit", interrupted)
    assert lenet(tmp_path, "--batch-size", "100") == 130
    assert "Stopped (interrupted); the same command continues" in capsys.readouterr().out
    assert fc.load(tmp_path / "lenet.npz")["at"]["batch"] == 3


@pytest.mark.full
def test_the_example_in_a_process_of_its_own(tmp_path):
    nothing = {"FASTCONV_DATA": str(tmp_path / "none"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    run = [
        sys.executable,
        EXAMPLE,
        "--epochs",
        "1",
        "--batch-size",
        "500",
        "--no-download",
        "--out",
        tmp_path,
        "--backend",
        "numpy",
    ]
    done = subprocess.run(run, capture_output=True, text=True, env={**HERE, **nothing}, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stderr + done.stdout  # the progress bar
    assert "examples/sec on cpu (numpy backend)" in done.stdout
    assert (tmp_path / "lenet.npz").exists()


def test_the_resnet_example_is_the_command():
    run = [sys.executable, EXAMPLE.with_name("train_resnet18.py"), "--help"]
    done = subprocess.run(run, capture_output=True, text=True, env=HERE, timeout=60)
    assert done.returncode == 0 and "fastconv train resnet18" in done.stdout and "--cutout" in done.stdout


@pytest.mark.parametrize(
    "options, message",
    [
        (["--data", "nowhere"], "FashionMNIST: expected train-images-idx3-ubyte.gz and train-labels"),
    ],
)
def test_errors_are_one_line(tmp_path, few, capsys, options, message):
    assert lenet(tmp_path, *options) == 2
    err = capsys.readouterr().err
    assert err.startswith("fastconv: error: ") and message in err and err.count("\n") == 1
    with pytest.raises((ValueError, OSError), match=message.split(":")[0]):
        lenet(tmp_path, "--traceback", *options)


def test_more_threads_than_processors_are_a_warning(tmp_path, few, capsys, monkeypatch):
    monkeypatch.setattr(backends.settings, "chosen_threads", None)
    assert lenet(tmp_path, "--epochs", "0", "--threads", "100000") == 0
    most = backends.settings.available_cpus()
    assert f"warning: set_num_threads: 100000 threads asked for, {most} used" in capsys.readouterr().err


NUMBERS = [
    ("lenet", "--epochs", "-1 1.5 many", "of at least 0"),
    ("lenet", "--batch-size", "0 -5 1e3", "of at least 1"),
    ("lenet", "--lr", "0 -1 nan inf", "above 0"),
    ("lenet", "--threads", "0 -1", "of at least 1"),
    ("lenet", "--seed", "-1 x", "of at least 0"),
    ("lenet", "--time-limit", "0 -1 nan inf", "above 0"),
    ("resnet18", "--weight-decay", "-1 nan inf", "of at least 0"),
    ("resnet18", "--label-smoothing", "-0.1 1 nan", "of at least 0 and below 1"),
    ("resnet18", "--pad-crop", "-1 0.5", "of at least 0"),
    ("resnet18", "--cutout", "-1", "of at least 0"),
    ("resnet18", "--checkpoint-every", "0", "of at least 1"),
]


@pytest.mark.parametrize("net, option, values, expected", NUMBERS)
def test_numbers_are_checked_before_anything_runs(capsys, net, option, values, expected):
    for value in values.split():
        with pytest.raises(SystemExit) as e:
            cli.main(["train", net, option, value])
        assert e.value.code == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert f"argument {option}: expected a " in last and last.endswith(
            f"number {expected}, got {value!r}"
        )


@pytest.mark.parametrize("value", ["9", "a.b", "9.", "-9.0"])
def test_a_capability_has_two_numbers(value, capsys):
    with pytest.raises(SystemExit):
        cli.main(["warmup", "--backend", "cuda", f"--cc={value}"])
    assert f"expected a capability such as 9.0, got {value!r}" in capsys.readouterr().err


def test_kernels_of_a_gpu_need_a_compiler(monkeypatch, capsys):
    from fastconv.cli import warmup

    monkeypatch.setattr(warmup, "find_spec", lambda name: None)
    assert cli.main(["warmup", "--backend", "cuda"]) == 2
    assert "numba-cuda, which compiles the kernels, is not installed; pip install" in capsys.readouterr().err


def options_of(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from ((f"{name} {where}", a) for where, a in options_of(below))
        else:
            yield "", action


def test_every_number_is_checked_and_every_option_explained():
    actions = dict(
        (where + "/".join(a.option_strings or [a.dest]), a) for where, a in options_of(make_parser())
    )
    assert len(actions) > 30 and all(a.help for a in actions.values())
    assert not [name for name, a in actions.items() if a.type in (int, float)]
    checked = {name.split()[-1] for name, a in actions.items() if a.type is not None}
    assert checked == {option for _, option, _, _ in NUMBERS} | {"--classes", "--cc", "model"}


@pytest.mark.parametrize("words", [["train", "lenet"], ["train", "resnet18"], ["summary"], ["doctor"], []])
def test_help_says_defaults_where_there_are_some(capsys, words):
    with pytest.raises(SystemExit):
        cli.main([*words, "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "default: None" not in out and "default: False" not in out
    if words == ["train", "lenet"]:
        assert (
            "images per step, of all ranks (default: 256)" in out
            and "(default: 0.1 at its peak; with --classic 0.9)" in out
        )


def test_data_is_a_folder_with_the_set_in_every_command(tmp_path, narrow, monkeypatch, capsys):
    """It is read if it has the files, and refused if not, whatever other folders have."""
    mini = Path(data.__file__).parent / "mini"
    monkeypatch.setenv("FASTCONV_DATA", str(mini))
    (tmp_path / "full" / "FashionMNIST").mkdir(parents=True)
    for file in mini.glob("*.gz"):
        (tmp_path / "full" / "FashionMNIST" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "t10k-images-idx3-ubyte.gz").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    asked = []

    def fit(net, loader, *_, **__):
        asked.append(loader.dataset)
        raise ValueError("far enough")

    monkeypatch.setattr(train, "fit", fit)
    for command in (["lenet"], ["resnet18"]):
        run = ["train", *command, "--out", str(tmp_path / "out"), "--data"]
        assert cli.main([*run, str(tmp_path / "full")]) == 2 and "far enough" in capsys.readouterr().err
        assert isinstance(asked.pop(), data.FashionMNIST) and not asked
        for folder, words in (
            ("wrong", "it has t10k-images-idx3"),
            ("none", "it is not a folder"),
            ("file", "it is not a folder"),
        ):
            assert cli.main([*run, str(tmp_path / folder)]) == 2
            err = capsys.readouterr().err
            assert (
                err.count("\n") == 1
                and words in err
                and f"in {tmp_path / folder} or in its folder FashionMNIST," in err
            )
            assert (
                "expected train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz "
                "or train-images-idx3-ubyte and" in err
            )
    assert cli.main(["train", "resnet18", "--dataset", "cifar10", "--data", str(tmp_path / "full")]) == 2
    assert "CIFAR10: expected cifar-10-binary.tar.gz or data_batch_1.bin and" in capsys.readouterr().err
    assert cli.main(["train", "resnet18", "--data", "cifar10"]) == 2
    assert "which images they are says --dataset cifar10" in capsys.readouterr().err


def test_bench_without_a_clone_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.bench, "ROOT", tmp_path)
    for options in (["--help"], ["net"]):
        assert cli.main(["bench", *options]) == 2
        err = capsys.readouterr().err
        assert (
            "not part of the installed package" in err
            and "clone of the repository" in err
            and err.count("\n") == 1
        )


@pytest.mark.parametrize("name", ["lenet", *models.list_models()])
def test_summary_of_every_model(name, capsys, blank_weights):
    assert cli.main(["summary", name]) == 0
    assert f"1x{1 if name.startswith('lenet') else 3}x" in capsys.readouterr().out.splitlines()[0]


def test_summary_of_an_unknown_model(capsys):
    for name, words in (
        ("resnet", "there is no model 'resnet'; did you mean resnet"),
        ("bert", "no model 'bert'; Known are"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["summary", name])
        err = capsys.readouterr().err
        assert words in err and "lenet, alexnet" in err


def test_summary(capsys):
    assert cli.main(["summary", "resnet18", "--input", "2x1x32x32", "--small-input", "--classes", "10"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ResNet, input 2x1x32x32\n") and "11,172,810 parameters" in out and "2x10" in out
    assert cli.main(["summary", "resnet18", "--small-input"]) == 0 and "1x3x32x32" in capsys.readouterr().out
    assert cli.main(["summary", "lenet5"]) == 0
    assert "61,706 parameters (0.2 MB), 416,520 multiply-adds = 833,040 FLOPs" in capsys.readouterr().out
    for options, message in (
        (["lenet5", "--input", "28x28"], "got '28x28'"),
        (["lenet5", "--small-input"], "--small-input is for ResNets, got lenet5"),
        (["alexnet", "--input", "1x3x32x32"], "max_pool2d: kernel_size"),
    ):
        assert cli.main(["summary", *options]) == 2
        assert message in capsys.readouterr().err


def test_wrong_words(capsys):
    for words in ([], ["fly"], ["train"], ["train", "lenet", "--backend", "tpu"]):
        with pytest.raises(SystemExit) as e:
            cli.main(words)
        assert e.value.code == 2
    with pytest.raises(SystemExit) as e:
        cli.main(["--version"])
    assert e.value.code == 0 and fc.__version__ in capsys.readouterr().out


def test_doctor(capsys):
    assert cli.main(["doctor"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["fastconv"] == fc.__version__ and lines["numpy"] == np.__version__
    assert {
        "python",
        "numba",
        "llvmlite",
        "backend",
        "threads",
        "CPU",
        "vector",
        "threading",
        "kernel",
        "buffer",
        "GPU",
        "tqdm",
    } <= set(lines)
    assert "bits" in lines["vector"] and "compiled kernels" in lines["kernel"]


def test_doctor_on_a_broken_machine(capsys, monkeypatch):
    monkeypatch.setattr(cli.doctor.versions, "version", lambda package: {"numba": "1.0"}.get(package))
    for name in ("cpu", "cpu.runtime"):  # the second one too, because a test before may have imported it
        monkeypatch.setitem(sys.modules, f"fastconv.backends.{name}", None)
    monkeypatch.setattr(backends.settings, "chosen_threads", None)  # no test before this one has chosen
    monkeypatch.setitem(settings.ENVIRONMENT, "FASTCONV_NUM_THREADS", "many")
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^cpu backend +not available: ", out, re.MULTILINE)
    assert re.search(r"^threads +not available: ValueError: FASTCONV_NUM_THREADS", out, re.MULTILINE)
    assert re.search(r"^tqdm +not installed", out, re.MULTILINE)


def test_module_runs():
    run = [sys.executable, "-m", "fastconv", "--version"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, env=HERE)
    assert done.stdout.strip() == f"fastconv {fc.__version__}"


@pytest.mark.full
def test_warmup_covers_training(capsys):
    """Every op of the contract is run, and after it training compiles nothing any more."""
    with fc.backend("cpu"):
        from fastconv.backends.cpu.codegen.jit import KERNELS
        from fastconv.backends.cpu.warmup import jobs

        more = {"batch_norm_train", "cross_entropy_mean", "fused_chain", "in_memory_order", "nll_mean"}
        assert {label.split()[0] for label, _ in jobs()} == {*backends.CONTRACT, *more}
        assert cli.main(["warmup"]) == 0
        assert re.search(r"^\d+ ops ready in .*compiled kernels", capsys.readouterr().out, re.MULTILINE)

        def compiled():
            return {name: [str(s) for s in kernel.dispatcher.signatures] for name, kernel in KERNELS.items()}

        before = compiled()
        x, y = np.random.default_rng(0).random((300, 1, 28, 28), np.float32), np.arange(300) % 10
        deep = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=16),
            nn.GroupNorm(4, 16),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(16, 10),
        )
        for net in (models.lenet5(), models.lenet5(modern=True), deep):
            for opt in (optim.SGD(net.parameters(), 0.01, momentum=0.9), optim.AdamW(net.parameters())):
                loader = data.DataLoader((x, y), 128)
                train.fit(net, loader, loader, optimizer=opt, progress=False)
        assert compiled() == before


@pytest.mark.parametrize("note, epochs", [(None, 10), ("the set in the package", 100)])
def test_epochs_by_default_make_as_many_steps_on_either_set(tmp_path, monkeypatch, note, epochs):
    sets = [(np.zeros((4, 1, 28, 28), np.float32), np.zeros(4, np.int64))] * 2
    monkeypatch.setattr(data, "fashion_mnist_or_mini", lambda *_, **__: (*sets, note))
    asked = []

    def fit(*_, epochs, **__):
        asked.append(epochs)
        raise ValueError("far enough")

    monkeypatch.setattr(train, "fit", fit)
    assert cli.main(["train", "lenet", "--out", str(tmp_path)]) == 2
    assert asked == [epochs]
