"""Samplers, and the generator behind them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import random
from fastconv.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


def seeded(seed):
    return fc.Generator().manual_seed(seed)


# ------------------------------------------------------------------------------------------------- generator
def test_a_generator_repeats_from_its_seed():
    g = fc.Generator()
    assert g.initial_seed() == 67280421310721  # PyTorch's
    first = [g.next_seed() for _ in range(3)]
    assert [fc.Generator().next_seed() for _ in range(2)] == first[:1] * 2
    state = g.get_state()
    after = g.next_seed()
    g.set_state(state)
    assert g.next_seed() == after and g.manual_seed(3) is g and g.initial_seed() == 3
    assert g.seed() != g.seed() and repr(seeded(3)) == "Generator(seed=3)"


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: fc.Generator("cuda"), "Generator: device must be 'cpu', got 'cuda'"),
        (lambda: seeded(-1), "Generator.manual_seed: seed must be at least 0, got -1"),
        (lambda: seeded(0.5), "Generator.manual_seed: seed must be an int, got 0.5"),
    ],
)
def test_generators_refuse(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_thread_may_draw_from_a_generator_of_its_own():
    fc.manual_seed(0)
    want = fc.rand(3).tolist()
    fc.manual_seed(0)
    with random.drawing_from(np.random.default_rng(5)):
        own = fc.rand(3).tolist(), random.next_seed()
    assert fc.rand(3).tolist() == want  # the process's generator was not drawn from
    with random.drawing_from(np.random.default_rng(5)):
        assert (fc.rand(3).tolist(), random.next_seed()) == own and own[0] != want


# ------------------------------------------------------------------------------------------------- samplers
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(1, 70), st.integers(0, 9))
def test_random_samplers(n, count, seed):
    data = range(n)
    order = list(RandomSampler(data, generator=seeded(seed)))
    assert sorted(order) == list(data) == list(SequentialSampler(data))
    assert order == list(RandomSampler(data, generator=seeded(seed)))
    if n:
        several = RandomSampler(data, num_samples=count, generator=seeded(seed))
        counts = np.bincount(list(several), minlength=n)
        assert len(several) == counts.sum() == count and counts.max() - counts.min() <= 1
        drawn = list(RandomSampler(data, True, count, seeded(seed)))
        assert len(drawn) == count and set(drawn) <= set(data)
    chosen = list(range(3, 3 + 2 * n, 2))
    assert sorted(SubsetRandomSampler(chosen, seeded(seed))) == chosen


def test_orders_differ_between_epochs_and_follow_manual_seed():
    sampler = RandomSampler(range(50))
    assert list(sampler) != list(sampler)
    fc.manual_seed(3)
    first = list(sampler)
    fc.manual_seed(3)
    assert list(sampler) == first


def test_weights():
    weights = [0.0, 1.0, 3.0]
    counts = np.bincount(list(WeightedRandomSampler(weights, 4000, generator=seeded(0))), minlength=3) / 4000
    assert counts[0] == 0 and abs(counts[2] - 0.75) < 0.03
    assert sorted(WeightedRandomSampler(fc.tensor(weights), 2, replacement=False)) == [1, 2]
    assert len(WeightedRandomSampler(weights, 7)) == 7


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 20), st.integers(1, 8), st.booleans())
def test_batches_of_numbers(n, size, drop_last):
    batches = BatchSampler(SequentialSampler(range(n)), size, drop_last)
    found = list(batches)
    assert len(found) == len(batches) and sum(found, []) == list(range(n // size * size if drop_last else n))
    assert all(len(b) == size for b in found[:-1])
    torch = pytest.importorskip("torch")
    assert found == list(torch.utils.data.BatchSampler(range(n), size, drop_last))


BAD = {
    "no length": (
        lambda: RandomSampler(iter("ab")),
        "RandomSampler: the data set must have __len__",
    ),
    "sequential": (
        lambda: SequentialSampler(3),
        "SequentialSampler: the data set must have __len__, got int",
    ),
    "replacement": (lambda: RandomSampler("ab", 1), "replacement must be True or False, got 1"),
    "num_samples": (lambda: RandomSampler("ab", num_samples=0), "num_samples must be at least 1, got 0"),
    "fraction": (lambda: RandomSampler("ab", num_samples=1.5), "num_samples must be an int, got 1.5"),
    "generator": (
        lambda: RandomSampler("ab", generator=3),
        "generator must be a fastconv.Generator, got int",
    ),
    "subset": (lambda: SubsetRandomSampler(3), "SubsetRandomSampler: the data set must have __len__"),
    "negative": (lambda: WeightedRandomSampler([1, -1], 1), "weights must be finite and at least 0"),
    "nan": (lambda: WeightedRandomSampler([np.nan], 1), "weights must be finite"),
    "zeros": (lambda: WeightedRandomSampler([0, 0], 1), "one must be above 0"),
    "words": (lambda: WeightedRandomSampler(["a"], 1), "weights must be numbers"),
    "rank": (lambda: WeightedRandomSampler(np.ones((2, 2)), 1), "weights must have 1 dimension, got 2"),
    "few": (
        lambda: WeightedRandomSampler([1, 0], 2, False),
        "only 1 weights are above 0; give repl",
    ),
    "batch": (lambda: BatchSampler([1], 0, False), "BatchSampler: batch_size must be at least 1, got 0"),
    "bool": (lambda: BatchSampler([1], True, False), "batch_size must be an int, got True"),
    "drop": (lambda: BatchSampler([1], 1, "no"), "drop_last must be True or False, got 'no'"),
    "sampler": (lambda: BatchSampler(3, 1, False), "sampler must be a Sampler or an iterable, got int"),
    "base": (lambda: iter(Sampler()), "Sampler: a sampler needs __iter__"),
}


@pytest.mark.parametrize("case", BAD)
def test_samplers_refuse(case):
    make, message = BAD[case]
    with pytest.raises((TypeError, ValueError, NotImplementedError), match=message):
        make()


# ------------------------------------------------------------------------------------------------- loader
ARRAYS = np.arange(20.0).reshape(10, 2), np.arange(10)


def labels(loader):
    return [y.tolist() for _, y in loader]


class EveryOther(Sampler):
    """A user's own sampler, with random numbers."""

    def __iter__(self):
        for i in range(0, 10, 2):
            yield (i + int(fc.rand(1).item() * 10)) % 10

    def __len__(self):
        return 5


SAMPLERS = {
    "random": lambda: {"sampler": RandomSampler(range(10))},
    "replacement": lambda: {"sampler": RandomSampler(range(10), True, 13)},
    "weighted": lambda: {"sampler": WeightedRandomSampler([1, 2] * 5, 9)},
    "own": lambda: {"sampler": EveryOther()},
    "list": lambda: {"sampler": [4, 2, 7]},
    "batches": lambda: {"batch_sampler": BatchSampler(RandomSampler(range(10)), 3, True)},
    "lists": lambda: {"batch_sampler": [[0, 3], [9], [1, 1, 1]]},
}


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("workers", [0, 3])
def test_a_loader_follows_its_sampler_and_resumes(kind, workers):
    def loader(seed):
        options = {"batch_size": 2} if "sampler" in SAMPLERS[kind]() else {}
        return DataLoader(ARRAYS, **SAMPLERS[kind](), **options, seed=seed, num_workers=workers)

    whole = loader(4)
    epochs = [labels(whole) for _ in range(3)]
    assert len(epochs[0]) == len(whole) and epochs == [labels(one) for one in [loader(4)] for _ in range(3)]
    if kind == "list":
        assert epochs[0] == [[4, 2], [7]]
    elif kind == "lists":
        assert epochs[0] == [[0, 3], [9], [1, 1, 1]]
    else:
        assert epochs[0] != epochs[1]
    first = loader(4)
    list(first)
    it = iter(first)
    next(it)
    second = loader(77)
    second.load_state_dict(first.state_dict())
    assert labels(second) == epochs[1][1:] and labels(second) == epochs[2]


def test_a_generator_decides_the_order():
    def order(**options):
        return labels(DataLoader(ARRAYS, 3, **options))

    assert order(shuffle=True, generator=seeded(1)) == order(shuffle=True, generator=seeded(1))
    assert order(shuffle=True, generator=seeded(1)) != order(shuffle=True, generator=seeded(2))
    sampler = {seed: order(sampler=RandomSampler(range(10), generator=seeded(seed))) for seed in (1, 2)}
    assert sampler[1] == order(sampler=RandomSampler(range(10), generator=seeded(1))) != sampler[2]
    inner = BatchSampler(RandomSampler(range(10), generator=seeded(1)), 3, False)
    assert labels(DataLoader(ARRAYS, batch_sampler=inner)) == sampler[1]
