"""fit and evaluate: what they compute, and that a run broken off anywhere continues to the same bits."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from math import isnan
from pathlib import Path

import numpy as np
import pytest

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
    """A small net with dropout and batch normalisation, its data, optimizer and schedule, all from fixed seeds."""

    def __init__(self, kind="SGD", schedule="OneCycleLR"):
        fc.manual_seed(5)
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.3),
            nn.Linear(64, 3),
        )  # fmt: skip
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
        options = {"epochs": EPOCHS, "progress": False, "scheduler": self.schedule, "optimizer": self.opt} | options
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


@pytest.mark.parametrize("tqdm", [True, False])
def test_progress(tqdm, capsys, monkeypatch):
    if tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    Setup().fit(epochs=2, progress=True)
    out, err = capsys.readouterr()
    shown = err if tqdm else out
    for word in ("epoch 1/2", "epoch 2/2", "loss ", "train acc ", "test acc ", "images/s", " left"):
        assert word in shown
    assert (out if tqdm else err) == ""
    Setup().fit(progress=False)
    assert capsys.readouterr() == ("", "")


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


# ------------------------------------------------------------------------------------------------- breaking off
@pytest.mark.parametrize("step", [1, 3, 5, 6, 11, 14, 15])
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


@pytest.mark.parametrize("every", [1, 4, 7])
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
    monkeypatch.setattr(train.loop, "perf_counter", lambda: now[0])
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


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:-99]), lambda p: p.write_bytes(b""),
                                    Path.unlink], ids=["torn", "empty", "gone"])  # fmt: skip
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
        with pytest.warns(UserWarning, match=r"continuing from the checkpoint before the last, .*previous\.npz, as .*damaged"):
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
        Setup().fit(checkpoint=path, checkpoint_every=4, loss=breaking_loss(9, lambda: monkeypatch.setattr(os, call, full)))
    monkeypatch.undo()
    assert [fc.load(p)["at"]["batch"] for p in (tmp_path / "run.previous.npz", path)] == [4, 3]
    assert sorted(os.listdir(tmp_path)) == ["run.npz", "run.previous.npz"]
    whole, second = Setup(), Setup()
    whole.fit()
    second.fit(checkpoint=path)
    assert second.bits() == whole.bits()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_at_any_moment_and_resumed(tmp_path):
    """Processes killed at random events and random times, then resumed to the end: the weights have the same bits."""

    def start(path, event=-1):
        command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(path), str(event)]
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
    train.fit(second, batches, epochs=2, progress=False, checkpoint=path)
    assert second[2].weight.numpy().tobytes() == whole[2].weight.numpy().tobytes()


def test_ctrl_c_during_evaluation(tmp_path):
    whole = Setup()
    expected = whole.fit()
    first, path = Setup(), tmp_path / "run.npz"
    asked = []

    def stop_in_the_second_evaluation(out, y):
        value = F.cross_entropy(out, y)
        asked.append(not value.requires_grad)
        if sum(asked) == 3 and asked[-1]:
            ctrl_c()
        return value

    history = first.fit(checkpoint=path, loss=stop_in_the_second_evaluation)
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
    assert second.fit(checkpoint=path, callback=lambda history: True).stopped is None  # it had ended by itself
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
    with pytest.raises(RuntimeError, match=rf"fit: the loss is {bad} at step 3 of epoch 2: .* that of the loss is not"):
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
    with pytest.raises(RuntimeError, match=r"at step 3 of epoch 2: the output of body\.2 \(Spoilt\) is the first") as e:
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
    what = "the weights are not finite at step 1 of epoch 2: the" if every else "the loss is nan at step 2 of epoch 2: in the"
    with pytest.raises(RuntimeError, match=f"{what}.* update made 1.weight so"):
        train.fit(net, batches, epochs=2, loss=loss, checkpoint=path, checkpoint_every=every, progress=False)
    saved = fc.load(path)
    assert (saved["at"]["epoch"], saved["at"]["batch"]) in ((0, 3), (1, 0))
    assert all(np.isfinite(t.numpy()).all() for t in saved["net"].values())


def test_checkpoints_that_do_not_fit(tmp_path):
    path = tmp_path / "run.npz"
    Setup().fit(checkpoint=path, epochs=1)
    run = Setup()
    run.loader = data.DataLoader(arrays(), 35)
    with pytest.raises(ValueError, match="5 batches per epoch, the loader has 2"):
        run.fit(checkpoint=path)
    with pytest.raises(ValueError, match="was trained with a scheduler"):
        Setup(schedule=None).fit(checkpoint=path)
    with pytest.raises(ValueError, match="another optimizer's"):
        Setup(kind="AdamW").fit(checkpoint=path)
    other = Setup()
    other.net[6] = nn.Linear(64, 5)
    before = other.bits()
    with pytest.raises(ValueError, match=r"run\.npz is a checkpoint of another net(.|\n)*6\.weight: expected 5x64, got 3x64"):
        other.fit(checkpoint=path)
    assert other.bits() == before
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


def test_a_schedule_that_ends_before_the_run_or_changed_meanwhile(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(ValueError, match="the schedule ends after 15 steps, but 4 epochs are 20"):
        Setup().fit(epochs=4, loss=breaking_loss(1, raise_break))
    Setup().fit(checkpoint=path)
    longer = Setup()
    longer.schedule = optim.lr_scheduler.OneCycleLR(longer.opt, 0.2, total_steps=20)
    with pytest.raises(ValueError, match="trained with another schedule: total_steps 15, now 20; do the same"):
        longer.fit(checkpoint=path, epochs=4)


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
