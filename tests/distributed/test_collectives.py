"""``fc.distributed``: with one rank in this process, with several under ``mpiexec``."""

import subprocess
import sys

import numpy as np
import pytest
from distributed.world import needs_mpi, run

import fastconv as fc
from fastconv import distributed as dist


def test_a_world_of_one():
    dist.init()
    assert (dist.rank(), dist.world_size(), dist.local_rank()) == (0, 1, 0)
    dist.barrier()
    x = fc.tensor([1.0, 2.0])
    assert dist.all_reduce(x) is x and dist.broadcast(x) is x
    every = [fc.zeros(2)]
    dist.all_gather(every, x)
    assert every[0].tolist() == x.tolist() == [1.0, 2.0]
    assert dist.all_gather_object({"a": 1}) == [{"a": 1}] and dist.broadcast_object("b") == "b"


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_arrays_of_any_layout(ranks):
    out = run(ranks, "collectives.py")
    assert sorted(out.splitlines()) == [f"rank {r} of {ranks}: ok" for r in range(ranks)]


@pytest.mark.parametrize(
    "call, error, words",
    [
        (
            lambda: dist.all_reduce([1.0]),
            TypeError,
            "all_reduce: tensor must be a Tensor or an array, got list",
        ),
        (lambda: dist.all_reduce(fc.tensor([1])), TypeError, "float32 or float64, got int64"),
        (lambda: dist.all_reduce(fc.ones(2), "mean"), ValueError, "op must be one of sum, avg"),
        (lambda: dist.all_reduce(fc.ones(2), async_op=True), ValueError, "async_op must be False"),
        (lambda: dist.broadcast(fc.ones(2), 1), ValueError, "src must be a rank from 0 to 0, got 1"),
        (lambda: dist.all_gather([], fc.ones(2)), ValueError, "must have 1 arrays, one per rank, got 0"),
        (lambda: dist.all_gather([fc.ones(3)], fc.ones(2)), ValueError, "shape and dtype of tensor"),
        (lambda: dist.all_reduce(fc.ones(2), group=1), ValueError, "process groups"),
    ],
)
def test_errors_name_the_function(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_read_only_arrays_are_refused():
    x = np.ones(2, np.float32)
    x.flags.writeable = False
    with pytest.raises(ValueError, match="all_reduce: tensor is changed in place"):
        dist.all_reduce(x)


WITHOUT = """
import sys
sys.modules["mpi4py"] = None
import fastconv as fc
print("imported")
fc.distributed.init()
print(fc.distributed.world_size())
"""


def test_without_mpi4py(monkeypatch):
    """``import fastconv`` and a world of one work; a launcher's rank gets a clear message."""
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["imported", "1"]
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.stdout.split() == ["imported"] and done.returncode
    assert "ImportError: distributed.init: mpi4py" in done.stderr
    assert 'pip install "fastconv[mpi]"' in done.stderr


@needs_mpi
def test_the_mpiexec_of_another_mpi_is_noticed(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    code = "import fastconv as fc; fc.distributed.init()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and "RuntimeError: distributed.init: 4 ranks were started" in done.stderr
