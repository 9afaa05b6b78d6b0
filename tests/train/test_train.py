"""fit and evaluate: what they compute, and that a run broken off anywhere continues to the same bits."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from support.selection import full

import fastconv as fc
from fastconv import data, nn, optim, train
from fastconv.nn import functional as F

N, BATCH, EPOCHS = 70, 16, 3  # five batches, the last one incomplete


def arrays(n=N, seed=0):
    """Images of two bright quadrants; the label tells which."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = rng.random((n, 1, 8, 8), dtype=np.float32)
    for i, k in enumerate(y):
        x[i, 0, 4 * (k // 2) : 4 * (k // 2) + 4, 4 * (k % 2) : 4 * (k % 2) + 4] += 1
    return x, y


def noise(batch, rng):
    return batch + 0.1 * rng.standard_normal(batch.shape).astype(np.float32)


class Setup:
    """A small net with dropout and batch normalisation, its data, optimizer and schedule, all from fixed
    seeds."""

    def __init__(self, kind="SGD", schedule="OneCycleLR"):
        fc.manual_seed(5)
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64, 3),
        )
        self.loader = data.DataLoader(arrays(), BATCH, shuffle=True, seed=1, transform=noise)
        self.test = data.DataLoader(arrays(32, seed=1), BATCH)
        params = self.net.parameters()
        self.opt = optim.SGD(params, lr=0.1, momentum=0.9) if kind == "SGD" else optim.AdamW(params, lr=0.01)
        self.schedule = {
            "OneCycleLR": lambda: optim.lr_scheduler.OneCycleLR(self.opt, 0.2, total_steps=EPOCHS * 5),
            "StepLR": lambda: optim.lr_scheduler.StepLR(self.opt, 1, 0.5),
            None: lambda: None,
        }[schedule]()

    def fit(self, **options):
        """By default with the loss that ``breaking_loss`` breaks, as a run resumes with the loss it began
        with."""
        options = {
            "epochs": EPOCHS,
            "progress": False,
            "scheduler": self.schedule,
            "optimizer": self.opt,
            "loss": breaking_loss(-1, None),
        } | options
        return train.fit(self.net, self.loader, self.test, **options)

    def bits(self):
        return {k: v.numpy().tobytes() for k, v in self.net.state_dict().items()}


def values(history):
    return [{k: v for k, v in p.items() if k != "images_per_second"} for p in history]


class Break(Exception):
    pass


def breaking_loss(step, action):
    """Cross entropy that calls ``action`` in its ``step``-th call on the tape (training, not evaluation)."""
    calls = [0]

    def loss(out, y):
        value = F.cross_entropy(out, y)
        calls[0] += value.requires_grad
        if calls[0] == step and value.requires_grad:
            action()
        return value

    return loss


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def raise_break():
    raise Break


# ------------------------------------------------------------------------------------------------- the loop
def test_fit_learns_and_equals_the_loop_written_out(backend):
    run = Setup(schedule=None)
    history = run.fit()
    hand, losses = Setup(schedule=None), []
    for _ in range(EPOCHS):
        hand.net.train()
        total = count = 0
        for x, y in hand.loader:
            loss = F.cross_entropy(hand.net(x), y)
            hand.opt.zero_grad()
            loss.backward()
            hand.opt.step()
            total, count = total + loss.item() * len(x), count + len(x)
        losses.append(total / count)
    assert run.bits() == hand.bits()
    assert [p["train_loss"] for p in history if p["epoch"] % 1 == 0] == losses
    assert losses[-1] < 0.7 * losses[0]
    assert history.test_accuracy > 0.8 and history.stopped is None


def test_history_points():
    history = Setup(schedule="StepLR").fit(epochs=2)
    assert [p["epoch"] for p in history] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6, 1.8, 2])
    assert [p["lr"] for p in history] == pytest.approx([0.1] * 5 + [0.05] * 5)
    assert [p["test_accuracy"] is not None for p in history] == ([False] * 4 + [True]) * 2
    assert history.epoch == 2 and history.train_loss == history[-1]["train_loss"]
    assert history.images_per_second > 0
    with pytest.raises(AttributeError):
        history.nonsense  # noqa: B018


@pytest.mark.parametrize("batches", [1, 2, 4, 5, 7, 13])
def test_five_points_per_epoch(batches):
    x, y = arrays(batches)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    history = train.fit(net, data.DataLoader((x, y), 1), epochs=2, progress=False)
    assert len(history) == 2 * min(batches, 5)
    assert history[-1]["epoch"] == 2 and history.test_accuracy is None


def test_csv_and_png(tmp_path):
    pytest.importorskip("matplotlib")
    history = Setup().fit(plot=tmp_path / "curve.png")
    history.to_csv(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == len(history)
    assert [float(r["train_loss"]) for r in rows] == [p["train_loss"] for p in history]
    assert rows[0]["test_accuracy"] == "" and float(rows[-1]["test_accuracy"]) == history.test_accuracy
    assert (tmp_path / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_drawing_without_matplotlib_fails_before_training(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run = Setup()
    before = run.bits()
    with pytest.raises(ImportError, match=r'pip install "fastconv\[train\]"'):
        run.fit(plot=tmp_path / "curve.png")
    assert run.bits() == before


class Terminal(io.StringIO):
    """Stands in for stderr."""

    def isatty(self):
        return True

    def fileno(self):
        return 2

    def kept(self):
        """The lines that are there in the end: the last thing drawn on each."""
        return [line.rpartition("\r")[2].rstrip() for line in self.getvalue().split("\n")[:-1]]


def on_a_terminal(monkeypatch):
    """80 columns wide; from here on every step is drawn."""
    pytest.importorskip("tqdm")
    monkeypatch.setattr(os, "get_terminal_size", lambda fileno=None: os.terminal_size((80, 24)))
    monkeypatch.setattr(sys, "stderr", Terminal())  # not in a fixture: pytest sets it before each test
    monkeypatch.setattr(train.progress, "REDRAW", 0)
    return sys.stderr


def test_a_terminal_of_80_columns_shows_loss_accuracies_and_speed(monkeypatch, capsys):
    terminal = on_a_terminal(monkeypatch)
    Setup().fit(progress=True)
    drawn = [line for line in re.split(r"[\r\n]", terminal.getvalue()) if line]
    assert max(map(len, drawn)) < 80
    assert re.search(
        r"^epoch 2/3 loss \S+, acc \d\.\d{3} \(test \d\.\d{3}\), \d+ img/s, 0:\d\d left \|.+\| *$",
        "\n".join(drawn),
        re.MULTILINE,
    )
    kept = r"epoch \d/3: loss \S+, train acc \d\.\d{3}, test acc \d\.\d{3}, \d+ images/s"
    assert len(terminal.kept()) == 3 and all(re.fullmatch(kept, line) for line in terminal.kept())
    assert capsys.readouterr().out == ""


def test_without_a_terminal_there_are_plain_lines(capsys):
    Setup().fit(progress=True)
    out, err = capsys.readouterr()
    assert err == "" and "\r" not in out
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        f"epoch {e}/3" for e in (1, 2, 3) for _ in range(5)
    ]
    assert re.search(
        r"^epoch 3/3: loss \S+, train acc \d\.\d{3}, test acc \d\.\d{3}, \d+ images/s, 0:00 left$",
        out,
        re.MULTILINE,
    )
    Setup().fit(progress=False)
    assert capsys.readouterr() == ("", "")


WIDEST = {
    "epoch": 999,
    "share": 0.5,
    "loss": 2.302585,
    "accuracy": 0.9,
    "test_accuracy": 0.9,
    "speed": 65432.1,
    "left": 5999,
}


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("epochs", [1, 2, 4, 5, 10, 15, 100, 999])
def test_the_lines_of_a_run_are_bounded(monkeypatch, capsys, epochs, live):
    if live:
        on_a_terminal(monkeypatch)
    shown = train.progress.Progress(True, epochs)
    for epoch in range(1, epochs + 1):

        def standing(epoch=epoch):
            return WIDEST | {"epoch": epoch}

        for batch in range(1, 11):
            shown.step(standing)
            if batch in (2, 4, 6, 8):
                shown.point(standing)
        shown.epoch(epoch, standing)
    shown.close()
    lines = sys.stderr.kept() if live else capsys.readouterr().out.splitlines()
    assert min(epochs, 8) <= len(lines) <= (11 if live else 20)
    assert lines[-1].startswith(f"epoch {epochs}/{epochs}: ") and "\r" not in "".join(lines)
    assert not live or max(map(len, lines)) < 80


def test_a_terminal_without_tqdm_gets_plain_lines(monkeypatch, capsys):
    terminal = on_a_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    Setup().fit(progress=True)
    assert terminal.getvalue() == "" and len(capsys.readouterr().out.splitlines()) == 15


def test_a_notebook_is_redrawn():
    stream = type("OutStream", (), {"__module__": "ipykernel.iostream"})()
    assert train.progress.redraws(stream) and not train.progress.redraws(None)
    assert not train.progress.redraws(io.StringIO())


def test_regression_shows_no_nan(tmp_path, monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    rng = np.random.default_rng(0)
    x = rng.random((32, 3), dtype=np.float32)
    batches = [(x[i : i + 8], 1e-3 * x[i : i + 8, :1]) for i in range(0, 32, 8)]
    net = nn.Linear(3, 1)
    history = train.fit(net, batches, batches, epochs=3, loss=nn.MSELoss())
    assert "nan" not in terminal.getvalue() and "acc" not in terminal.getvalue()
    # as many digits as say something
    assert "loss " in terminal.getvalue() and "loss 0.000" not in terminal.getvalue()
    assert (
        history.train_accuracy is None and history.test_accuracy is None and history.running_accuracy is None
    )
    assert history.test_loss == train.evaluate(net, batches, nn.MSELoss())[0]
    history.to_csv(tmp_path / "history.csv")
    assert "nan" not in (tmp_path / "history.csv").read_text()
    if importlib.util.find_spec("matplotlib"):
        history.plot(tmp_path / "curve.png")


def test_curves_do_not_jump_where_an_epoch_begins(tmp_path):
    """A loss that falls by one from step to step: over the epoch so far its mean jumps, over the steps of a
    point not."""
    steps = iter(range(100, 0, -1))
    net = nn.Linear(2, 3)
    batches = [(np.ones((n, 2), np.float32), np.zeros(n, np.int64)) for n in (4, 4, 4, 4, 4, 4, 4, 4, 4, 2)]
    history = train.fit(
        net, batches, epochs=2, progress=False, loss=lambda out, y: out.sum() * 0 + next(steps)
    )
    running = [99.5, 97.5, 95.5, 93.5, (92 * 4 + 91 * 2) / 6, 89.5, 87.5, 85.5, 83.5, (82 * 4 + 81 * 2) / 6]
    assert [p["running_loss"] for p in history] == pytest.approx(running, rel=1e-6)
    means = [sum((100 - 10 * e - i) * (2 if i == 9 else 4) for i in range(10)) / 38 for e in (0, 1)]
    assert [p["train_loss"] for p in history if p["epoch"] % 1 == 0] == pytest.approx(means, rel=1e-6)
    assert history.train_loss == history[-1]["train_loss"]
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes

    drawn = []
    plot = Axes.plot
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Axes, "plot", lambda self, x, y, *a, **k: drawn.append(y) or plot(self, x, y, *a, **k))
        history.plot(tmp_path / "curve.png")
    assert drawn[0] == pytest.approx(running)


def test_plain_iterables_of_arrays_and_default_optimizer():
    x, y = arrays()
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 64, 8)]
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    before = train.evaluate(net, batches)
    history = train.fit(net, batches, epochs=4, progress=False)
    after = train.evaluate(net, batches)
    assert after[0] < before[0] and after[1] > before[1]
    assert history.train_accuracy == pytest.approx(after[1], abs=0.3)


# ------------------------------------------------------------------------------------------------- evaluate
def test_evaluate(backend):
    x, y = arrays()
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Dropout(0.5))
    net.train()
    net[0].eval()
    loss, accuracy = train.evaluate(net, data.DataLoader((x, y), BATCH))
    assert [m.training for m in net] == [False, True, True]
    scores = x.reshape(N, -1) @ net[1].weight.numpy().T + net[1].bias.numpy()
    log = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    assert loss == pytest.approx(-log[np.arange(N), y].mean(), rel=1e-4)
    assert accuracy == pytest.approx((scores.argmax(1) == y).mean(), abs=1e-12)
    assert all(p.grad is None for p in net.parameters())


def test_evaluate_regression_and_nothing():
    net = nn.Linear(2, 1)
    x = np.ones((4, 2), np.float32)
    loss, accuracy = train.evaluate(net, [(x, np.zeros((4, 1), np.float32))], nn.MSELoss())
    assert loss == pytest.approx(float(net(x).numpy()[0, 0]) ** 2, rel=1e-5) and isnan(accuracy)
    with pytest.raises(ValueError, match="no batch"):
        train.evaluate(net, [])


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


@pytest.mark.parametrize(
    "make", [Mean, lambda: nn.Sequential(nn.BatchNorm2d(3, affine=False), Mean())], ids=["nothing", "buffers"]
)
def test_nets_without_parameters(make, backend):
    net = make()
    x, y = np.random.default_rng(0).random((6, 3, 4, 4), np.float32), np.arange(6) % 3
    loader = data.DataLoader((x, y), 4)
    right = (x.mean((2, 3)).argmax(1) == y).mean()
    assert train.evaluate(net, loader)[1] == pytest.approx(right)
    assert train.confusion_matrix(net, loader).trace() / 6 == pytest.approx(right)
    other = nn.Parameter(fc.ones(1))  # of the loss
    optimizer = optim.SGD([other], lr=0.1)
    train.fit(net, loader, optimizer=optimizer, loss=lambda out, y: (out * out * other).sum(), progress=False)
    assert other.item() != 1
    with pytest.raises(ValueError, match="SGD: the list of parameters is empty"):
        train.fit(net, loader)


def test_evaluate_optimized_nets(backend):
    x, y = arrays()
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), Mean())
    fast, loader = fc.optimize_for_inference(net), data.DataLoader((x, y), BATCH)
    assert train.evaluate(fast, loader) == pytest.approx(train.evaluate(net, loader), rel=1e-4)
    np.testing.assert_array_equal(train.confusion_matrix(fast, loader), train.confusion_matrix(net, loader))
    assert not fast.training and net.training
    with pytest.raises(RuntimeError, match="optimize_for_inference: the net evaluates only"):
        train.fit(fast, loader, progress=False)


def test_confusion_matrix(backend, tmp_path):
    pytest.importorskip("matplotlib")
    x, y = arrays()
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Dropout(0.5))
    loader = data.DataLoader((x, y), BATCH)
    matrix = train.confusion_matrix(net, loader, tmp_path / "matrix.png", "abcd")
    guesses = (x.reshape(N, -1) @ net[1].weight.numpy().T + net[1].bias.numpy()).argmax(1)
    want = [[np.sum((y == i) & (guesses == j)) for j in range(4)] for i in range(4)]
    np.testing.assert_array_equal(matrix, want)
    assert matrix.trace() / matrix.sum() == pytest.approx(train.evaluate(net, loader)[1]) and net.training
    assert (tmp_path / "matrix.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(ValueError, match="class indices, got 2-D and float32"):
        train.confusion_matrix(net, [(x, y.astype(np.float32))])
    with pytest.raises(ValueError, match="no batch"):
        train.confusion_matrix(net, [])


# ------------------------------------------------------------------------------------------------- breaking
# off
@pytest.mark.parametrize("step", [5, 6, 15, *full(1, 3, 11, 14)])
def test_ctrl_c_then_resume_gives_the_same_bits(tmp_path, step):
    whole = Setup()
    expected = whole.fit()
    path = tmp_path / "run.npz"
    first = Setup()
    history = first.fit(checkpoint=path, loss=breaking_loss(step, ctrl_c))
    assert history.stopped == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    second = Setup()
    fc.manual_seed(99)  # what comes next is the checkpoint's business
    resumed = second.fit(checkpoint=path)
    assert second.bits() == whole.bits()
    assert values(resumed) == values(expected) and resumed.stopped is None


@pytest.mark.parametrize("every", [4, *full(1, 7)])
@pytest.mark.parametrize("kind, schedule", [("SGD", None), ("AdamW", "StepLR")])
def test_crash_then_resume_from_the_last_checkpoint(backend, tmp_path, every, kind, schedule):
    whole = Setup(kind, schedule)
    expected = whole.fit()
    path = tmp_path / "run.npz"
    with pytest.raises(Break):
        Setup(kind, schedule).fit(checkpoint=path, checkpoint_every=every, loss=breaking_loss(9, raise_break))
    assert fc.load(path)["at"]["epoch"] * 5 + fc.load(path)["at"]["batch"] == 8 // every * every
    second = Setup(kind, schedule)
    resumed = second.fit(checkpoint=path)
    assert second.bits() == whole.bits()
    assert values(resumed) == values(expected)


def test_time_limit(tmp_path, monkeypatch):
    whole = Setup()
    whole.fit()
    now = [0.0]
    monkeypatch.setattr(train.stop, "perf_counter", lambda: now[0])
    step_seconds = 1.0

    def tick():
        now[0] += step_seconds

    path, stops = tmp_path / "run.npz", []
    for _ in range(10):
        calls = breaking_loss(-1, None)

        def slow(out, y, calls=calls):
            tick()
            return calls(out, y)

        run = Setup()
        history = run.fit(checkpoint=path, time_limit=3.5, loss=slow)
        stops.append(history.stopped)
        if history.stopped is None:
            break
    assert stops[0] == "time limit" and stops[-1] is None and len(stops) > 2
    assert run.bits() == whole.bits()


@pytest.mark.parametrize(
    "damage",
    [lambda p: p.write_bytes(p.read_bytes()[:-99]), lambda p: p.write_bytes(b""), Path.unlink],
    ids=["torn", "empty", "gone"],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    whole = Setup()
    expected = whole.fit()
    path, previous = tmp_path / "run.npz", tmp_path / "run.previous.npz"
    Setup().fit(checkpoint=path, checkpoint_every=3, loss=breaking_loss(8, ctrl_c))
    assert [fc.load(p)["at"]["batch"] for p in (previous, path)] == [1, 3]
    assert sorted(os.listdir(tmp_path)) == ["run.npz", "run.previous.npz"]
    before = previous.read_bytes()
    damage(path)
    second = Setup()
    if path.exists():
        with pytest.warns(
            UserWarning,
            match=r"continuing from the checkpoint before the last, .*previous\.npz, as .*damaged",
        ):
            second.fit(checkpoint=path, loss=breaking_loss(1, ctrl_c))
    else:
        second.fit(checkpoint=path, loss=breaking_loss(1, ctrl_c))
    assert previous.read_bytes() == before  # and not the damaged one
    last = Setup()
    assert values(last.fit(checkpoint=path)) == values(expected)
    assert last.bits() == whole.bits()


def test_a_new_run_does_not_fall_back_to_the_one_it_replaced(tmp_path):
    Setup().fit(checkpoint=tmp_path / "run.npz")
    with pytest.raises(Break):
        Setup().fit(checkpoint=tmp_path / "run.npz", resume=False, loss=breaking_loss(1, raise_break))
    assert os.listdir(tmp_path) == ["run.npz"]
    assert fc.load(tmp_path / "run.npz")["history"] == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_checkpoints(tmp_path, monkeypatch, call):
    path = tmp_path / "run.npz"

    def full(*args):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"fit: the checkpoint could not be saved \(No space left on device\)"):
        Setup().fit(
            checkpoint=path,
            checkpoint_every=4,
            loss=breaking_loss(9, lambda: monkeypatch.setattr(os, call, full)),
        )
    monkeypatch.undo()
    assert [fc.load(p)["at"]["batch"] for p in (tmp_path / "run.previous.npz", path)] == [4, 3]
    assert sorted(os.listdir(tmp_path)) == ["run.npz", "run.previous.npz"]
    whole, second = Setup(), Setup()
    whole.fit()
    second.fit(checkpoint=path)
    assert second.bits() == whole.bits()


@pytest.mark.full
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_at_any_moment_and_resumed(tmp_path):
    """Processes killed at random events and random times, then resumed to the end: the weights have the same
    bits."""

    def start(path, event=-1):
        command = [
            sys.executable,
            str(Path(__file__).parents[1] / "support" / "killed.py"),
            str(path),
            str(event),
        ]
        env = {**os.environ, "FASTCONV_BACKEND": "numpy", "PYTHONPATH": str(Path(fc.__file__).parents[1])}
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    def end(process):
        out = process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == 0
        return out[-1].split()

    first, whole = tmp_path / "first.npz", tmp_path / "whole.npz"
    assert start(first, 5).wait(60) == -signal.SIGKILL  # the checkpoint of the start has just appeared
    shutil.copy(first, whole)
    events, expected = end(start(whole))
    draw = random.Random(7)
    for trial, event in enumerate(draw.sample(range(int(events)), 7)):
        path = tmp_path / f"{trial}.npz"
        shutil.copy(first, path)
        assert start(path, event).wait(60) == -signal.SIGKILL
        again = start(path)
        again.stdout.readline()  # begins
        time.sleep(draw.uniform(0, 0.05))
        again.kill()
        again.communicate()
        assert end(start(path))[1] == expected, f"killed at event {event} of {events}"
        assert not list(tmp_path.glob(f".{trial}.*")), "what a killed process left is cleared away"


def test_finished_runs_and_more_epochs(tmp_path):
    path = tmp_path / "folder" / "run.npz"
    run = Setup(schedule="StepLR")
    run.fit(checkpoint=path, epochs=2)
    before, state = path.stat().st_mtime_ns, run.bits()
    again = Setup(schedule="StepLR")
    assert len(again.fit(checkpoint=path, epochs=2)) == 10
    assert again.bits() == state and path.stat().st_mtime_ns == before
    more = Setup(schedule="StepLR")
    more.fit(checkpoint=path, epochs=3)
    whole = Setup(schedule="StepLR")
    whole.fit(epochs=3)
    assert more.bits() == whole.bits()
    anew = Setup(schedule="StepLR")
    assert anew.fit(checkpoint=path, epochs=1, resume=False)[0]["epoch"] == pytest.approx(0.2)


def test_resume_with_a_plain_list_of_batches(tmp_path):
    x, y = arrays(64)
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 64, 8)]

    def net():
        fc.manual_seed(2)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3))

    whole, first, second = net(), net(), net()
    fc.manual_seed(3)
    train.fit(whole, batches, epochs=2, progress=False)
    fc.manual_seed(3)
    path = tmp_path / "run.npz"
    train.fit(first, batches, epochs=2, progress=False, checkpoint=path, loss=breaking_loss(11, ctrl_c))
    train.fit(second, batches, epochs=2, progress=False, checkpoint=path, loss=breaking_loss(-1, None))
    assert second[2].weight.numpy().tobytes() == whole[2].weight.numpy().tobytes()


def test_ctrl_c_during_evaluation(tmp_path):
    whole = Setup()
    expected = whole.fit()
    first, path = Setup(), tmp_path / "run.npz"
    asked = []

    def loss(out, y):
        value = F.cross_entropy(out, y)
        asked.append(not value.requires_grad)
        if sum(asked) == 3 and asked[-1]:
            ctrl_c()
        return value

    loss.__qualname__ = breaking_loss(-1, None).__qualname__
    history = first.fit(checkpoint=path, loss=loss)
    assert history.stopped == "interrupted" and history.epoch == 2 and history[-1]["test_loss"] is None
    assert sum(asked) == 3 and all(m.training for m in first.net.modules())
    second = Setup()
    assert values(second.fit(checkpoint=path)) == values(expected)
    assert second.bits() == whole.bits()


def test_callback(tmp_path):
    whole, seen, path = Setup(), [], tmp_path / "run.npz"
    whole.fit(callback=lambda history: seen.append((history.epoch, history.test_accuracy)))
    assert [epoch for epoch, _ in seen] == [1, 2, 3] and seen[-1][1] is not None
    first, second = Setup(), Setup()
    history = first.fit(checkpoint=path, callback=lambda history: history.epoch == 2)
    assert history.stopped == "callback" and history.epoch == 2
    # it had ended by itself
    assert second.fit(checkpoint=path, callback=lambda history: True).stopped is None
    assert second.bits() == whole.bits()


def test_a_second_ctrl_c_ends_at_once():
    def twice():
        ctrl_c()
        ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        Setup().fit(loss=breaking_loss(2, twice))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_fit_in_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(Setup().fit(epochs=1)))
    thread.start()
    thread.join(60)
    assert found[0].epoch == 1


# ------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops(bad, tmp_path):
    run = Setup()

    def loss(out, y, good=breaking_loss(-1, None), calls=iter(range(99))):  # noqa: B008
        return good(out, y) * (bad if next(calls) == 7 else 1.0)

    run.test = None
    with pytest.raises(
        RuntimeError, match=rf"fit: the loss is {bad} at step 3 of epoch 2: .* that of the loss is not"
    ):
        run.fit(loss=loss, checkpoint=tmp_path / "run.npz")
    at = fc.load(tmp_path / "run.npz")["at"]
    assert (at["epoch"], at["batch"]) == (0, 5)  # the checkpoint from before is still there


class Spoilt(nn.Module):
    """Carries its input on, and spoils one number of it from the ``call``-th training step on."""

    def __init__(self, call):
        super().__init__()
        self.calls, self.call = 0, call

    def forward(self, x):
        self.calls += self.training
        return x / (x * 0) if self.calls >= self.call else x


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_the_layer_where_nan_appears_is_named(backend, tmp_path):
    run = Setup()
    run.net = nn.Sequential({"body": nn.Sequential(*run.net[:2], Spoilt(8), nn.ReLU()), "head": run.net[3:]})
    modes = [m.training for m in run.net.modules()]
    with pytest.raises(
        RuntimeError, match=r"at step 3 of epoch 2: the output of body\.2 \(Spoilt\) is the first"
    ) as e:
        run.fit(checkpoint=tmp_path / "run.npz")
    assert "smaller learning rate" in str(e.value)
    assert [m.training for m in run.net.modules()] == modes
    assert all(np.isfinite(t.numpy()).all() for t in fc.load(tmp_path / "run.npz")["net"].values())


def test_a_batch_with_nan_is_named():
    run = Setup()
    x, y = arrays()
    x[40, 0, 3, 3] = np.nan
    run.loader = data.DataLoader((x, y), BATCH)
    with pytest.raises(RuntimeError, match="at step 3 of epoch 1: the batch from the loader is not finite"):
        run.fit()


@pytest.mark.parametrize("every", [None, 1])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, every):
    """The gradient of sqrt at 0 is infinite though the loss is finite: the update spoils the layers below."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    calls = iter(range(99))

    def loss(out, y):
        return F.cross_entropy(out, y) + ((net[1].weight * 0).sum() ** 0.5 if next(calls) == 3 else 0)

    batches = [(np.ones((4, 2), np.float32), np.arange(4) % 3)] * 3
    path = tmp_path / "run.npz"
    what = (
        "the weights are not finite at step 1 of epoch 2: the"
        if every
        else "the loss is nan at step 2 of epoch 2: in the"
    )
    with pytest.raises(RuntimeError, match=f"{what}.* update made 1.weight so"):
        train.fit(net, batches, epochs=2, loss=loss, checkpoint=path, checkpoint_every=every, progress=False)
    saved = fc.load(path)
    assert (saved["at"]["epoch"], saved["at"]["batch"]) in ((0, 3), (1, 0))
    assert all(np.isfinite(t.numpy()).all() for t in saved["net"].values())


def refused(run, path, *words, **options):
    """``run`` is refused with a message that has the words, and nothing of it is touched."""
    before = run.bits()
    with pytest.raises(
        ValueError, match=r"^fit: .*run\.npz (was trained with|is a checkpoint of another net)"
    ) as e:
        run.fit(checkpoint=path, **options)
    for word in (*words, "another checkpoint=, or resume=False"):
        assert word in str(e.value)
    assert run.bits() == before and all("lr" in g for g in run.opt.param_groups)


def test_what_a_checkpoint_does_not_fit_is_refused_with_both_values(tmp_path):
    path = tmp_path / "run.npz"
    Setup().fit(checkpoint=path, epochs=1)

    def loader(x=N, batch=BATCH, **options):
        run = Setup()
        run.loader = data.DataLoader(
            arrays(x), batch, transform=noise, **{"shuffle": True, "seed": 1} | options
        )
        return run

    def net(i, layer):
        run = Setup()
        run.net[i] = layer
        return run

    refused(loader(batch=35), path, "batch_size 16, now 35")
    refused(loader(batch=17), path, "batch_size 16, now 17")  # makes as many batches
    refused(loader(69), path, "a data set of length 70, now 69")
    refused(loader(seed=2), path, "seed 1, now 2")
    refused(loader(shuffle=False), path, "shuffle True, now False")
    refused(Setup(kind="AdamW"), path, "optimizer SGD, now AdamW")
    refused(Setup(schedule="StepLR"), path, "scheduler OneCycleLR, now StepLR")
    refused(Setup(schedule=None), path, "scheduler OneCycleLR, now none")
    refused(Setup(), path, "loss breaking_loss.<locals>.loss, now MSELoss", loss=nn.MSELoss())
    refused(net(2, nn.Sigmoid()), path, "another net: 2 was ReLU, now Sigmoid")  # parameters are the same
    refused(net(6, nn.Linear(64, 5)), path, "6.weight: expected 5x64, got 3x64")
    refused(net(6, nn.Sequential(nn.Linear(64, 3))), path, "another net: 6 was Linear, now Sequential")
    groups = Setup(schedule=None)
    groups.opt = optim.SGD([{"params": [p]} for p in groups.net.parameters()], 0.1, momentum=0.9)
    refused(groups, path, "parameters in its groups [6], now [1, 1, 1, 1, 1, 1]")
    longer = Setup()
    longer.schedule = optim.lr_scheduler.OneCycleLR(longer.opt, 0.2, total_steps=20)
    refused(longer, path, "total_steps of OneCycleLR 15, now 20", epochs=4)


def test_a_seed_that_was_drawn_is_taken_from_the_checkpoint(tmp_path):
    def run(seed):
        setup = Setup()
        fc.manual_seed(seed)
        setup.loader = data.DataLoader(arrays(), BATCH, shuffle=True)
        return setup

    whole, path = run(1), tmp_path / "run.npz"
    whole.fit()
    run(1).fit(checkpoint=path, loss=breaking_loss(7, ctrl_c))
    second = run(2)
    second.fit(checkpoint=path)
    assert second.bits() == whole.bits()
    refused(Setup(), path, "seed drawn at random, now 1")


def test_batches_without_a_batch_size(tmp_path):
    x, y = arrays(64)
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 64, 8)]
    net, path = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), tmp_path / "run.npz"
    train.fit(net, batches, epochs=1, progress=False, checkpoint=path)
    with pytest.raises(ValueError, match="8 batches per epoch, now 7"):
        train.fit(net, batches[:7], epochs=1, progress=False, checkpoint=path)


def test_files_that_are_no_checkpoints(tmp_path):
    path = tmp_path / "run.npz"
    Setup().fit(checkpoint=path, epochs=1)
    fc.save(Setup().net.state_dict(), path)
    with pytest.raises(ValueError, match="not a checkpoint of fit"):
        Setup().fit(checkpoint=path)
    path.write_bytes(b"PK\x03\x04 broken")
    (tmp_path / "run.previous.npz").unlink()
    with pytest.raises(ValueError, match="damaged"):
        Setup().fit(checkpoint=path)
    with pytest.raises(ValueError, match=r"ends in \.npz"):  # before training, not after an epoch
        Setup().fit(checkpoint=tmp_path / "run.txt", loss=breaking_loss(1, raise_break))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="checkpoint could not be saved"):
        Setup().fit(checkpoint=tmp_path / "file" / "run.npz", loss=breaking_loss(1, raise_break))


def test_a_schedule_that_ends_before_the_run():
    with pytest.raises(ValueError, match="the schedule ends after 15 steps, but 4 epochs are 20"):
        Setup().fit(epochs=4, loss=breaking_loss(1, raise_break))


# ------------------------------------------------------------------------------------------------- what a
# resume says
def interrupted(path, step, make=Setup):
    """A run broken off in its ``step``-th step; the objects it leaves."""
    run = make()
    run.fit(checkpoint=path, loss=breaking_loss(step, ctrl_c))
    return run


def test_a_resume_says_what_and_from_where(tmp_path, capsys, recwarn):
    path = tmp_path / "run.npz"
    interrupted(path, 8)
    Setup().fit(checkpoint=path, progress=True)
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == f"Resuming {path}: epoch 2 of 3, step 4 of 5"
    history = Setup().fit(checkpoint=path, progress=True)
    assert capsys.readouterr().out == f"{path} has 3 epochs, 3 are asked for: nothing is left to train\n"
    assert history.resumed == history.epoch == 3
    assert Setup().fit(checkpoint=path, resume=False).resumed is None
    assert not recwarn.list  # nothing differed


@pytest.mark.parametrize("progress", [True, False])
def test_a_resume_says_what_differs(tmp_path, capsys, progress):
    path = tmp_path / "run.npz"
    interrupted(path, 8, lambda: Setup(schedule=None))
    run = Setup(schedule=None)
    run.opt = optim.SGD(run.net.parameters(), lr=0.01, momentum=0.5, weight_decay=0.1, nesterov=True)
    run.net[5] = nn.Dropout(0.2)
    text = (
        "lr 0.1, now 0.01; momentum 0.9, now 0.5; nesterov False, now True; weight_decay 0, now 0.1; "
        "5 Dropout(p=0.3, mode='upscale_in_train'), now Dropout(p=0.2, mode='upscale_in_train')"
    )
    if progress:
        run.fit(checkpoint=path, progress=True)
        assert text in capsys.readouterr().out.splitlines()[1]
    else:
        with pytest.warns(UserWarning, match=re.escape(text)) as caught:
            run.fit(checkpoint=path)
        assert caught[0].filename == __file__  # the Setup.fit that called
        assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("ignore:fit. resuming")
@pytest.mark.parametrize(
    "old, new",
    [
        (
            lambda p: optim.SGD(p, 0.1, momentum=0.9),
            lambda p: optim.SGD(p, 0.02, momentum=0.5, weight_decay=0.1),
        ),
        *full(
            (lambda p: optim.SGD(p, 0.1), lambda p: optim.SGD(p, 0.1, momentum=0.9)),
            (lambda p: optim.SGD(p, 0.1, momentum=0.9), lambda p: optim.SGD(p, 0.1)),
        ),
        (
            lambda p: optim.Adam(p, 0.01),
            lambda p: optim.Adam(p, 0.002, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
        ),
    ],
)
def test_settings_asked_for_now_win(tmp_path, old, new):
    """As a loop by hand that sets them between two steps."""

    def make(optimizer):
        run = Setup(schedule=None)
        run.opt = optimizer(run.net.parameters())
        return run

    path, settings = tmp_path / "run.npz", make(new).opt.param_groups[0]
    settings = {k: v for k, v in settings.items() if k != "params"}
    interrupted(path, 7, lambda: make(old))
    resumed = make(new)
    history = resumed.fit(checkpoint=path)
    by_hand, done = make(old), 0
    for _ in range(EPOCHS):
        by_hand.net.train()
        for x, y in by_hand.loader:
            if done == 7:
                by_hand.opt.param_groups[0].update(settings)
            loss = F.cross_entropy(by_hand.net(x), y)
            by_hand.opt.zero_grad()
            loss.backward()
            by_hand.opt.step()
            done += 1
    assert resumed.bits() == by_hand.bits()
    assert [p["lr"] for p in history][-1] == settings["lr"]
    # and the next resume compares with these, not with those of the start
    again = make(new)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.fit(checkpoint=path)


@pytest.mark.filterwarnings("ignore:fit. resuming")
@pytest.mark.parametrize("schedule", ["OneCycleLR", *full("StepLR")])
def test_another_base_lr_goes_through_the_schedule(tmp_path, schedule):
    def make(lr):
        run = Setup(schedule=None)
        run.opt = optim.SGD(run.net.parameters(), lr=lr, momentum=0.9)
        steps = optim.lr_scheduler
        run.schedule = (
            steps.StepLR(run.opt, 1, 0.5)
            if schedule == "StepLR"
            else steps.OneCycleLR(run.opt, lr, EPOCHS * 5)
        )
        return run

    lrs = {lr: [p["lr"] for p in make(lr).fit()] for lr in (0.1, 0.04)}
    path = tmp_path / "run.npz"
    interrupted(path, 8, lambda: make(0.1))
    resumed = make(0.04)
    got = [p["lr"] for p in resumed.fit(checkpoint=path, loss=breaking_loss(4, ctrl_c))]
    assert got == pytest.approx(lrs[0.1][:8] + lrs[0.04][8:12], rel=1e-12)
    third = make(0.04)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = [p["lr"] for p in third.fit(checkpoint=path)]
    assert got == pytest.approx(lrs[0.1][:8] + lrs[0.04][8:], rel=1e-12)
    assert fc.load(path)["asked"]["groups"][0]["initial_lr"] == third.opt.param_groups[0]["initial_lr"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind, schedule", [("SGD", "OneCycleLR"), *full(("AdamW", "StepLR"), ("SGD", None))])
def test_what_a_schedule_moved_is_no_difference(tmp_path, kind, schedule):
    """The same script again, and the same objects again in a notebook, whose settings have moved
    meanwhile."""
    whole = Setup(kind, schedule)
    expected = whole.fit()
    for step, every in ((8, None), (15, 4)):
        path = tmp_path / f"{step}.npz"
        objects = Setup(kind, schedule)
        with pytest.raises(Break):
            objects.fit(checkpoint=path, checkpoint_every=every, loss=breaking_loss(step, raise_break))
        shutil.copy(path, tmp_path / "copy.npz")
        script = Setup(kind, schedule)
        assert values(script.fit(checkpoint=tmp_path / "copy.npz")) == values(expected)
        assert values(objects.fit(checkpoint=path)) == values(expected)  # further than the checkpoint
        assert objects.bits() == script.bits() == whole.bits()
        assert values(Setup(kind, schedule).fit(checkpoint=path)) == values(expected)


@pytest.mark.filterwarnings("error")
def test_an_lr_set_by_a_callback_stays(tmp_path):
    def halve(history):
        run.opt.param_groups[0]["lr"] /= 2

    path, run = tmp_path / "run.npz", Setup(schedule=None)
    run.fit(checkpoint=path, epochs=2, callback=halve)
    run = Setup(schedule=None)
    assert run.fit(checkpoint=path, callback=halve)[-1]["lr"] == 0.1 / 4


def test_settings_of_the_loss_are_said(tmp_path):
    path = tmp_path / "run.npz"
    weight = np.array([1, 2, 3], np.float32)
    Setup().fit(checkpoint=path, epochs=1, loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    with pytest.warns(
        UserWarning, match=r"label_smoothing of the loss 0\.1, now 0\.0; weight of the loss None, now \[1\.0"
    ):
        Setup().fit(checkpoint=path, epochs=2, loss=nn.CrossEntropyLoss(weight=weight))


def test_other_threads_are_said(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    with fc.backend("cpu"):
        with monkeypatch.context() as patch:
            patch.setattr(train.config, "settings", types.SimpleNamespace(get_num_threads=lambda: 77))
            Setup().fit(checkpoint=path, epochs=1)
        with pytest.warns(
            UserWarning, match=r"by the cpu backend with 77 threads, now by the cpu backend with \d+ thread"
        ):
            Setup().fit(checkpoint=path, epochs=2)


@pytest.mark.filterwarnings("error")
def test_a_checkpoint_from_before_settings_were_noted(tmp_path):
    whole, path = Setup(), tmp_path / "run.npz"
    expected = whole.fit()
    interrupted(path, 8)
    saved = fc.load(path)
    del saved["asked"]
    saved["at"] = {k: v for k, v in saved["at"].items() if "point" not in k}
    saved["history"] = [{k: v for k, v in p.items() if "running" not in k} for p in saved["history"]]
    fc.save(saved, path)
    second = Setup()
    history = second.fit(checkpoint=path)
    assert second.bits() == whole.bits() and history.train_loss == expected.train_loss
    history.to_csv(tmp_path / "history.csv")
    if importlib.util.find_spec("matplotlib"):
        history.plot(tmp_path / "curve.png")


def test_a_test_set_of_another_kind_costs_no_epoch(tmp_path):
    run, path = Setup(), tmp_path / "run.npz"
    run.test = [(np.zeros((4, 3, 8, 8), np.float32), np.arange(4) % 3)]
    with pytest.raises(ValueError, match="conv2d: weight expects 1 input channels.*input has 3"):
        run.fit(checkpoint=path)
    whole, second = Setup(), Setup()
    whole.fit()
    second.fit(checkpoint=path, loss=breaking_loss(11, raise_break))  # ten steps are left
    assert second.bits() == whole.bits()


def test_arguments():
    with pytest.raises(ValueError, match="checkpoint_every must be positive"):
        Setup().fit(checkpoint_every=0)
    with pytest.raises(ValueError, match="epochs must not be negative"):
        Setup().fit(epochs=-1)
    with pytest.raises(ValueError, match="no batches"):
        train.fit(nn.Linear(2, 2), [])
    assert Setup().fit(epochs=0) == []
