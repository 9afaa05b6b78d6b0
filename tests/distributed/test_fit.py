"""``train.fit(..., distributed=True)`` under ``mpiexec``: results, resuming, ends by signals, faults."""

import json
import signal
import time

import numpy as np
import pytest
from distributed.world import needs_mpi, run, start
from support.selection import full

import fastconv as fc
from fastconv import data

pytestmark = needs_mpi


def fit(ranks, folder, *args):
    return json.loads(run(ranks, "fit.py", folder, *args))


def losses(result):
    return np.array([p["train_loss"] for p in result["history"]])


def test_the_history_is_that_of_one_process(tmp_path):
    """With SyncBatchNorm, and dropout off; recorded steps and usual ones have the same bits."""
    one, two = (fit(n, tmp_path / str(n), "graph=0") for n in (1, 2))
    np.testing.assert_allclose(losses(two), losses(one), rtol=0, atol=1e-5)
    for point, other in zip(one["history"], two["history"]):
        assert point["train_accuracy"] == other["train_accuracy"] and point["lr"] == other["lr"]
        assert point["test_accuracy"] == other["test_accuracy"]
    assert fit(2, tmp_path / "graph", "graph=1") == two
    three = fit(3, tmp_path / "3", "graph=1")
    np.testing.assert_allclose(losses(three), losses(one), rtol=0, atol=1e-5)


@pytest.mark.full
def test_a_resumed_run_has_the_same_bits(tmp_path):
    """Dropout and augmentation of each rank included; BatchNorm with the batches of single ranks."""
    options = "norm=batch", "dropout=0.4", "flip=1"
    whole = fit(2, tmp_path / "whole", *options)
    assert whole["stopped"] is None
    first = fit(2, tmp_path / "parts", *options, "stop=2")
    assert first["stopped"] == "callback" and len(first["history"]) < len(whole["history"])
    assert fit(2, tmp_path / "parts", *options) == whole


@pytest.mark.full
@pytest.mark.parametrize("before, after, step", [(2, 3, "21"), (3, 1, "e3"), (1, 2, "13")])
def test_a_run_continues_with_another_number_of_ranks(tmp_path, before, after, step):
    """In the middle of an epoch or of an evaluation. The batch in all is the same, and so is the curve."""
    whole = fit(1, tmp_path / "whole", "graph=0")
    process = start(before, "fit.py", tmp_path / "parts", "graph=0", f"signal=SIGTERM,0,{step}")
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert json.loads(out)["stopped"] == "terminated"
    rest = fit(after, tmp_path / "parts", "graph=0")
    assert len(rest["history"]) == len(whole["history"])
    np.testing.assert_allclose(losses(rest), losses(whole), rtol=0, atol=1e-5)
    for point, other in zip(rest["history"], whole["history"]):
        assert point["epoch"] == other["epoch"] and point["test_accuracy"] == other["test_accuracy"]


@pytest.mark.parametrize("name, stopped", [("SIGTERM", "terminated"), *full(("SIGINT", "interrupted"))])
def test_a_signal_to_one_rank_ends_all_with_a_checkpoint(tmp_path, name, stopped):
    result = fit(3, tmp_path, f"signal={name},1,5")
    assert result["stopped"] == stopped
    saved = fc.load(tmp_path / "run.npz")
    assert saved["at"]["batch"] == 5 and saved["at"]["count"] == 60
    assert fit(3, tmp_path)["stopped"] is None


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_mpiexec_ends_all_with_a_checkpoint(tmp_path, number):
    process = start(2, "fit.py", tmp_path, "pause=0.1", "epochs=100")
    while not (tmp_path / "run.previous.npz").exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(number)
    process.communicate(timeout=60)
    saved = fc.load(tmp_path / "run.npz")
    assert saved["at"]["epoch"] < 100
    assert fit(2, tmp_path, f"epochs={saved['at']['epoch'] + 1}")["stopped"] is None


@pytest.mark.parametrize("launcher", [(), pytest.param(("-disable-auto-cleanup",), marks=pytest.mark.full)])
@pytest.mark.parametrize("rank, step", [(0, 7), *full((1, 17), (2, 12))])
def test_a_killed_rank_is_named_and_the_others_end(tmp_path, rank, step, launcher):
    options = "norm=batch", "dropout=0.4"
    began = time.monotonic()
    process = start(3, "fit.py", tmp_path / "run", *options, f"die={rank},{step}", launcher=launcher)
    while not list((tmp_path / "run").glob("run.npz")) and process.poll() is None:
        time.sleep(0.05)
        began = time.monotonic()
    _, errors = process.communicate(timeout=100)
    assert process.returncode and f"fastconv: rank {rank} (process" in errors
    assert "was killed or has crashed; all ranks end" in errors
    assert errors.count("was killed or has crashed") == 1
    assert time.monotonic() - began < 30  # training included; it takes some 2 seconds
    saved = fc.load(tmp_path / "run" / "run.npz")
    assert saved["at"]["epoch"] * 8 + saved["at"]["batch"] == (step - 1) // 3 * 3
    assert fit(3, tmp_path / "run", *options) == fit(3, tmp_path / "whole", *options)


def refused(ranks, *args):
    process = start(ranks, *args)
    _, errors = process.communicate(timeout=200)
    assert process.returncode
    return errors


def test_a_rank_with_other_data_is_refused_at_the_start(tmp_path):
    errors = refused(2, "fit.py", tmp_path, "other=1")
    assert "ValueError: fit: all ranks must train the same; rank 1 has another data set than rank 0" in errors
    assert errors.count("Traceback") == 1
    assert not list(tmp_path.iterdir())


def test_another_batch_in_all_is_refused(tmp_path):
    fit(2, tmp_path, "epochs=1")
    assert "trained with batch_size 12, now 24" in refused(2, "fit.py", tmp_path, "batch=12")


def test_the_sampler_divides_the_items():
    for n, size in ((10, 2), (10, 3), (11, 4), (2, 3)):
        for shuffle in (False, True):
            parts = [list(data.DistributedSampler(range(n), size, r, shuffle, seed=1)) for r in range(size)]
            together = [i for turn in zip(*parts) for i in turn]
            order = list(data.DistributedSampler(range(n), 1, 0, shuffle, seed=1))
            assert together[:n] == order and sorted(order) == list(range(n))
            assert len(together) == -(-n // size) * size and set(together[n:]) <= set(order[:size])
            if n >= size:
                kept = [
                    list(data.DistributedSampler(range(n), size, r, shuffle, 1, drop_last=True))
                    for r in range(size)
                ]
                assert [i for turn in zip(*kept) for i in turn] == order[: n // size * size]
    sampler = data.DistributedSampler(range(100), 2, 0, seed=4)
    sampler.set_epoch(3)
    loader = data.DataLoader(np.arange(100), 100, shuffle=True, seed=4)
    orders = [next(iter(loader)).tolist() for _ in range(4)]
    assert list(sampler) == orders[3][::2]  # as the loader of one process draws it


def test_the_sampler_refuses():
    with pytest.raises(ValueError, match="DistributedSampler: rank must be from 0 to num_replicas - 1 = 1"):
        data.DistributedSampler(range(3), 2, 2)
    with pytest.raises(ValueError, match="too few for 4 ranks"):
        data.DistributedSampler(range(3), 4, 0, drop_last=True)
