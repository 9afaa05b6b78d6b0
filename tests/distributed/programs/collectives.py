"""Every collective on arrays of every layout; each rank checks its own results."""

import numpy as np

import fastconv as fc
from fastconv import distributed as dist

dist.init()
rank, size = dist.rank(), dist.world_size()
assert dist.is_initialized() and 0 <= dist.local_rank() <= rank
dist.barrier()


def layouts(values):
    """The same values in logical order, in several orders of memory."""
    yield values.copy()
    yield np.asfortranarray(values)
    wide = np.zeros((*values.shape[:-1], 2 * values.shape[-1]), values.dtype)
    wide[..., ::2] = values
    yield wide[..., ::2]
    yield values[::-1].copy()[::-1]
    # each rank has another order in memory
    yield values.copy() if rank else np.asfortranarray(values)
    yield np.zeros((0, 3), values.dtype)
    yield np.array(values[0, 0, 0], values.dtype)


rng = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    for wrap in (lambda a: a, fc.from_numpy):
        every = [rng.standard_normal((4, 3, 5)).astype(dtype) for _ in range(size)]
        for op, combine in {
            "sum": lambda a, b: a + b,
            "product": lambda a, b: a * b,
            "min": np.minimum,
            "max": np.maximum,
            "avg": lambda a, b: a + b,
        }.items():
            for each in zip(*(layouts(a) for a in every)):
                mine = wrap(each[rank])
                assert dist.all_reduce(mine, op) is mine
                want = each[0].astype("float64")
                # every rank holds what the others made, so it can compute the result
                parts = [a.astype("float64") for a in each]
                parts[rank] = np.asarray(every[rank]).reshape(-1)[: parts[0].size].reshape(parts[0].shape)
                want = parts[0]
                for part in parts[1:]:
                    want = combine(want, part)
                want = want / size if op == "avg" else want
                np.testing.assert_allclose(np.asarray(mine), want, rtol=1e-5, atol=1e-6)
                same = dist.all_gather_object(np.asarray(mine).tobytes())
                assert len(set(same)) == 1, "not the same bits on all ranks"
        for source in range(size):
            for each in zip(*(layouts(a) for a in every)):
                mine = wrap(each[rank])
                want = np.array(dist.broadcast_object(each[source].copy(), source))
                assert dist.broadcast(mine, source) is mine
                np.testing.assert_array_equal(np.asarray(mine), want)
        for each in zip(*(layouts(a) for a in every)):
            found = [wrap(np.empty_like(a)) for a in each]
            dist.all_gather(found, wrap(each[rank]))
            for a, b in zip(found, dist.all_gather_object(each[rank])):
                np.testing.assert_array_equal(np.asarray(a), b)

t = fc.ones(3)
version = t.memory.version
dist.all_reduce(t)
assert t.memory.version > version
print(f"rank {rank} of {size}: ok\n", end="", flush=True)  # one write, because the ranks share a pipe
