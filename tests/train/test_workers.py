"""The loader's options: worker threads, collate_fn, timeout and the others of PyTorch; what is refused."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import nn, optim, train
from fastconv.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    default_collate,
    default_convert,
    get_worker_info,
    transforms,
)


class Noisy(Dataset):
    """Items with random numbers of every kind, each after a short, uneven time."""

    augment = transforms.Compose([transforms.RandomCrop(4, padding=1), transforms.RandomHorizontalFlip()])

    def __len__(self):
        return 23

    def __getitem__(self, i):
        time.sleep(0.001 * (i % 3))
        image = self.augment(fc.tensor(np.arange(16, dtype=np.float32).reshape(1, 4, 4) + i))
        return image + fc.rand(1, 4, 4), i


class Words(IterableDataset):
    def __iter__(self):
        assert get_worker_info() is None  # so nobody thinks that several threads read
        return iter([f"word {i}" for i in range(10)])


def loader_threads():
    return [t for t in threading.enumerate() if t.name == "fastconv-loader"]


def flat(loader):
    return [(x.tolist(), y.tolist()) for x, y in loader]


# ------------------------------------------------------------------------------------------------- workers
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_batches_are_the_same_with_any_number_of_workers(workers):
    def loader(n):
        shift = transforms.RandomErasing()
        return DataLoader(Noisy(), 4, shuffle=True, seed=3, num_workers=n, transform=shift)

    alone, several = loader(0), loader(workers)
    epochs = [flat(alone) for _ in range(2)]
    assert [flat(several) for _ in range(2)] == epochs and epochs[0] != epochs[1]
    again = loader(workers)
    again.load_state_dict({"epoch": 1, "batch": 3, "seed": 3})
    assert flat(again) == epochs[1][3:]


def test_the_threads_of_training_are_not_disturbed():
    """What items draw does not come from the generator of dropout and initialisation."""
    fc.manual_seed(0)
    loader = DataLoader(Noisy(), 4)
    want = fc.rand(4).tolist()
    fc.manual_seed(0)
    loader = DataLoader(Noisy(), 4, num_workers=2)
    list(loader)
    assert fc.rand(4).tolist() == want


def test_streams_are_read_by_one_thread_at_a_time():
    for workers in (0, 3):
        assert sum(DataLoader(Words(), 3, num_workers=workers), []) == [f"word {i}" for i in range(10)]
        assert list(DataLoader(Words(), None, num_workers=workers)) == [f"word {i}" for i in range(10)]


def test_worker_info_and_worker_init_fn():
    seen, begun = set(), []

    class Seen(Noisy):
        def __getitem__(self, i):
            seen.add(get_worker_info())
            return super().__getitem__(i)

    ds = Seen()
    list(DataLoader(ds, 4, seed=7, worker_init_fn=begun.append))
    assert seen == {None} and begun == [] and get_worker_info() is None
    seen.clear()
    loader = DataLoader(ds, 1, seed=7, num_workers=3, worker_init_fn=begun.append)
    list(loader), list(loader)
    assert {(i.id, i.num_workers, i.seed) for i in seen} <= {(k, 3, 7 + k) for k in range(3)}
    assert all(i.dataset is ds for i in seen) and sorted(begun) == sorted([i.id for i in seen] * 2)
    begun.clear()
    loader = DataLoader(ds, 1, num_workers=2, worker_init_fn=begun.append, persistent_workers=True)
    list(loader), list(loader)
    assert sorted(begun) == [0, 1]


def test_several_threads_work_at_once():
    both = threading.Barrier(2, timeout=10)

    class Meeting(Noisy):
        def __getitem__(self, i):
            both.wait()  # passes only if two items are made at the same time
            return i

    assert len(list(DataLoader(Meeting(), 1, num_workers=2, sampler=range(22)))) == 22


def test_prefetch_factor():
    made = []

    class Counted(Noisy):
        def __getitem__(self, i):
            made.append(i)
            return i

    it = iter(DataLoader(Counted(), 1, num_workers=2, prefetch_factor=3))
    next(it)
    end = time.monotonic() + 10
    while len(made) < 7 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 1 + 2 * 3  # one handed out, three ahead for each worker
    it.close()
    assert not loader_threads()


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("where", ["item", "collate_fn", "transform", "sampler", "worker_init_fn"])
def test_an_error_in_a_thread_comes_with_its_traceback(workers, where):
    def fail(*args):
        raise KeyError("the reason")

    class Broken(Noisy):
        def __getitem__(self, i):
            return fail() if i == 9 and where == "item" else (np.ones((1, 2, 2)), i)

    def numbers():
        yield from range(8)
        fail()

    class Own:
        def __iter__(self):
            return numbers()

    options = {"item": {}, "sampler": {"sampler": Own()}}.get(where, {where: fail})
    loader, seen = DataLoader(Broken(), 4, num_workers=workers, **options), []
    if where == "worker_init_fn" and not workers:
        assert len(list(loader)) == 6
        return
    with pytest.raises(KeyError, match="the reason") as e:
        for _, y in loader:
            seen.append(y.tolist())
    assert seen == ([[0, 1, 2, 3], [4, 5, 6, 7]] if where in ("item", "sampler") else [])
    text = "".join(traceback.format_exception(e.value))
    assert "in fail" in text
    if where == "item" and hasattr(e.value, "add_note"):
        assert "DataLoader: item 9 of Broken" in text
    assert not loader_threads()


def test_a_worker_that_takes_too_long():
    class Slow(Noisy):
        def __getitem__(self, i):
            time.sleep(0.5)
            return i

    for workers in (0, 2):
        with pytest.raises(RuntimeError, match="DataLoader: no batch within 0.05 s; give a longer timeout="):
            next(iter(DataLoader(Slow(), 1, num_workers=workers, timeout=0.05)))
    assert next(iter(DataLoader(Slow(), 1, timeout=5))).tolist() == [0]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("workers", [0, 3])
def test_ctrl_c_ends_at_once(workers):
    code = f"""
    import signal, threading, time
    import numpy as np
    from fastconv.data import DataLoader

    class Slow:
        def __len__(self):
            return 100
        def __getitem__(self, i):
            if i == 2:
                print("begun", flush=True)
            time.sleep(0.0 if i < 2 else 30)
            return i

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for x in DataLoader(Slow(), 1, num_workers={workers}):
            pass
    except KeyboardInterrupt:
        print("stopped", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=25)
    assert (out, err, process.returncode) == ("stopped\n", "", 0) and time.monotonic() - start < 20


# ------------------------------------------------------------------------------------------------- collate_fn
PAIRS = np.arange(12.0).reshape(6, 2), np.arange(6)


@pytest.mark.parametrize("workers", [0, 2])
def test_collate_fn_gets_the_list_of_items(workers):
    kinds = []

    def together(items):
        kinds.append((type(items), len(items), [type(i) for i in items]))
        return {
            "x": np.stack([x for x, _ in items]),
            "y": [y for _, y in items],
            "same": default_collate(items),
        }

    batches = list(DataLoader(PAIRS, 4, collate_fn=together, num_workers=workers))
    assert sorted(kinds, key=str) == [(list, 2, [tuple] * 2), (list, 4, [tuple] * 4)]
    assert isinstance(batches[0]["x"], fc.Tensor) and batches[1]["y"] == [4, 5]
    x, y = batches[0]["same"]
    assert x.tolist() == PAIRS[0][:4].tolist() and y.tolist() == [0, 1, 2, 3] and x.dtype == np.float32


def test_mixing_in_collate_fn_and_as_transform():
    images = np.random.default_rng(0).random((8, 1, 4, 4), np.float32), np.arange(8) % 3
    mix = transforms.MixUp(num_classes=3)

    def first(**options):
        return next(iter(DataLoader(images, 8, seed=1, **options)))

    for x, y in (first(collate_fn=lambda items: mix(*default_collate(items))), first(transform=mix)):
        assert x.shape == (8, 1, 4, 4) and y.shape == (8, 3) and y.dtype == np.float32
        np.testing.assert_allclose(y.numpy().sum(1), 1, rtol=1e-6)
        assert nn.CrossEntropyLoss()(fc.zeros(8, 3), y).item() == pytest.approx(np.log(3), rel=1e-5)
    np.testing.assert_array_equal(first(transform=mix)[0].numpy(), first(transform=mix)[0].numpy())
    with pytest.raises(TypeError, match="transform MixUp.* needs batches"):
        next(iter(DataLoader(images[0], 2, transform=mix)))


def test_transforms_as_objects_see_the_numbers_of_the_data_set():
    images = np.full((4, 1, 4, 4), 51, np.uint8), np.arange(4)
    t = transforms.Compose([transforms.RandomCrop(4, padding=1), transforms.ToTensor()])
    x, y = next(iter(DataLoader(images, 4, transform=t)))
    assert x.dtype == np.float32 and set(np.unique(x.numpy()).round(4)) == {0, np.float32(0.2)}
    x, _ = next(iter(DataLoader(images, 4, transform=lambda x, rng: x + 0.5)))
    assert x.dtype == np.float32 and x.max().item() == 51.5


def test_items_alone():
    batches = list(DataLoader(Noisy(), None, num_workers=2, shuffle=True, seed=0))
    assert len(batches) == len(DataLoader(Noisy(), None)) == 23 and batches[0][0].shape == (1, 4, 4)
    assert sorted(y for _, y in batches) == list(range(23))
    x, y = next(iter(DataLoader([(np.ones((2, 3)), np.arange(2))], None)))
    assert isinstance(x, fc.Tensor) and x.dtype == np.float64 and y.tolist() == [0, 1]
    assert repr(DataLoader(Noisy(), None)) == "DataLoader(Noisy, 23 items)"
    assert next(iter(DataLoader(Noisy(), None, collate_fn=lambda item: item[1]))) == 0


def test_several_items_at_once():
    class Several(Noisy):
        def __getitems__(self, index):
            return [(np.zeros(2), 10 * i) for i in index]

    assert next(iter(DataLoader(Several(), 3)))[1].tolist() == [0, 10, 20]


def test_like_torchs():
    torch = pytest.importorskip("torch")
    item = {"a": np.arange(3), "b": [1.5, {"c": np.float64(2)}, "x"], "d": None}
    ours, theirs = default_convert(item), torch.utils.data.default_convert(item)
    assert ours["a"].tolist() == theirs["a"].tolist() and ours["b"][0] == theirs["b"][0] and ours["d"] is None
    assert ours["b"][1]["c"].item() == 2.0 and ours["b"][1]["c"].dtype == np.float64
    for items in ([np.arange(3)] * 2, [1, 2], [True, False], [{"n": 1}, {"n": 2}]):
        ours, theirs = default_collate(items), torch.utils.data.default_collate(items)
        a, b = (ours["n"], theirs["n"]) if isinstance(ours, dict) else (ours, theirs)
        assert a.tolist() == b.tolist() and str(a.dtype) == str(b.dtype).removeprefix("torch.")


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["arrays", "tensors", "items", "stream", "part"]),
    st.integers(1, 20),
    st.integers(1, 7),
    st.booleans(),
    st.integers(0, 3),
    st.integers(1, 3),
)
def test_every_way_to_ask_for_items(kind, n, size, drop_last, workers, factor):
    """Whole arrays, items and streams, gathered or put together, give the batches of plain slices."""
    x, y = np.arange(2.0 * n, dtype=np.float32).reshape(n, 2), np.arange(n)
    items = [(fc.tensor(a), int(b)) for a, b in zip(x, y)]

    class Stream:
        def __iter__(self):
            return iter(items)

    sources = {"arrays": (x, y), "tensors": fc.data.TensorDataset(x, y), "items": items, "stream": Stream()}
    sources["part"] = fc.data.Subset((*items, *items), range(n, 2 * n))
    options = {"prefetch_factor": factor} if workers else {}
    loader = DataLoader(sources[kind], size, drop_last=drop_last, num_workers=workers, **options)
    starts = range(0, n // size * size if drop_last else n, size)
    found = list(loader)
    assert len(found) == len(starts) and (kind == "stream" or len(loader) == len(starts))
    for start, (bx, by) in zip(starts, found):
        np.testing.assert_array_equal(bx.numpy(), x[start : start + size])
        np.testing.assert_array_equal(by.numpy(), y[start : start + size])


def test_what_may_change_after_construction():
    loader = DataLoader(fc.data.FashionMNISTMini(train=False), 4)
    loader.dataset.transform = lambda image: image[:, :7].float()  # a function of one image
    assert next(iter(loader))[0].shape == (4, 1, 7, 28)
    loader.collate_fn = len
    assert next(iter(loader)) == 4


def test_repr():
    loader = DataLoader(PAIRS, 2, num_workers=4, shuffle=True, seed=1)
    assert repr(loader) == "DataLoader(6x2 and 6, 3 batches of 2, shuffle=True, seed=1, workers=4 threads)"
    assert (
        repr(DataLoader(PAIRS, batch_sampler=[[1], [0]], seed=4))
        == "DataLoader(6x2 and 6, 2 batches, seed=4)"
    )
    assert loader.num_workers == 4 and len(loader.sampler) == 6 and len(loader.batch_sampler) == 3


# ------------------------------------------------------------------------------------------------- refusals
class Endless:
    """A sampler without a length."""

    def __iter__(self):
        return itertools.count()


BAD = {
    "sampler and shuffle": (
        lambda: DataLoader(PAIRS, shuffle=True, sampler=[1]),
        "give either sampler or shuffle=True",
    ),
    "batch_sampler": (
        lambda: DataLoader(PAIRS, 2, batch_sampler=[[1]]),
        "batch_sampler cannot be used with batch_size, shuffle",
    ),
    "batch_sampler, drop_last": (
        lambda: DataLoader(PAIRS, batch_sampler=[[1]], drop_last=True),
        "batch_sampler cannot be used with batch_size, shuffle, sampler or drop_last",
    ),
    "sampler kind": (
        lambda: DataLoader(PAIRS, sampler=3),
        "sampler must be a Sampler or an iterable, got int",
    ),
    "stream": (
        lambda: DataLoader(Words(), sampler=[1]),
        "only has __iter__ gives its items in its own order",
    ),
    "workers": (lambda: DataLoader(PAIRS, num_workers=-1), "num_workers must be at least 0, got -1"),
    "workers kind": (lambda: DataLoader(PAIRS, num_workers=1.5), "num_workers must be an int, got 1.5"),
    "collate_fn": (lambda: DataLoader(PAIRS, collate_fn=3), "collate_fn must be callable, got 3"),
    "worker_init_fn": (lambda: DataLoader(PAIRS, worker_init_fn=3), "worker_init_fn must be callable, got 3"),
    "timeout": (lambda: DataLoader(PAIRS, timeout=-1), "timeout must be between 0 and 1e.09, got -1"),
    "timeout kind": (lambda: DataLoader(PAIRS, timeout="1 s"), "timeout must be a number, got '1 s'"),
    "pin_memory": (
        lambda: DataLoader(PAIRS, pin_memory="yes"),
        "pin_memory must be True or False, got 'yes'",
    ),
    "shuffle": (lambda: DataLoader(PAIRS, shuffle="yes"), "shuffle must be True or False, got 'yes'"),
    "drop_last": (lambda: DataLoader(PAIRS, drop_last=3), "drop_last must be True or False, got 3"),
    "context": (
        lambda: DataLoader(PAIRS, multiprocessing_context="fork"),
        "multiprocessing_context must be None, bec",
    ),
    "prefetch": (lambda: DataLoader(PAIRS, prefetch_factor=2), "need num_workers of at least 1"),
    "prefetch 0": (
        lambda: DataLoader(PAIRS, num_workers=1, prefetch_factor=0),
        "prefetch_factor must be at least 1, got 0",
    ),
    "persistent": (lambda: DataLoader(PAIRS, persistent_workers=True), "need num_workers of at least 1"),
    "order": (lambda: DataLoader(PAIRS, in_order=False), "in_order must be True"),
    "device": (lambda: DataLoader(PAIRS, pin_memory_device="tpu"), "pin_memory_device must be"),
    "generator": (lambda: DataLoader(PAIRS, generator=3), "generator must be a fastconv.Generator, got int"),
    "seeds": (
        lambda: DataLoader(PAIRS, seed=1, generator=fc.Generator()),
        "give either seed or generator, not both",
    ),
    "alone": (lambda: DataLoader(PAIRS, None, drop_last=True), "batch_size=None makes no batches"),
    "unknown": (lambda: DataLoader(PAIRS, workers=3), "unexpected keyword argument 'workers'"),
    "once": (
        lambda: DataLoader(PAIRS, sampler=iter([1])),
        "sampler must be .* that starts again, got a list_it",
    ),
    "length": (
        lambda: len(DataLoader(PAIRS, sampler=Endless())),
        "not known, because the sampler has no __len__",
    ),
    "number": (lambda: list(DataLoader(PAIRS, sampler=[0.5])), "a sampler must give ints, got .0.5."),
    "range": (lambda: list(DataLoader(PAIRS, sampler=[6])), "asks for item 6, but the data set has 6 items"),
    "change": (
        lambda: setattr(DataLoader(PAIRS), "batch_size", 3),
        "batch_size cannot be changed; make another",
    ),
    "collate kind": (lambda: default_collate(3), "default_collate: batch must be a list of items, got int"),
    "collate nothing": (lambda: default_collate([]), "default_collate: batch has no items"),
    "collate shapes": (
        lambda: default_collate([np.ones(2), np.ones(3)]),
        "default_collate: items of one batch differ in shape: item 0 is 2, item 1 is 3",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_options_that_are_refused(case):
    make, message = BAD[case]
    with pytest.raises((TypeError, ValueError, IndexError), match=message):
        make()


def test_options_that_have_no_effect_are_accepted():
    loader = DataLoader(PAIRS, 2, shuffle=None, pin_memory=True, pin_memory_device="cuda", in_order=True)
    assert [y.tolist() for _, y in loader] == [[0, 1], [2, 3], [4, 5]] and loader.pin_memory


# ------------------------------------------------------------------------------------------------- training
@pytest.mark.parametrize("workers", [0, 2])
def test_training_resumes_to_the_same_bits(tmp_path, workers):
    """In the middle of an epoch, with a sampler, workers, and random numbers in items and batches."""

    def fit(steps, path=None):
        fc.manual_seed(5)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Dropout(0.3), nn.Linear(8, 23))
        sampler = fc.data.WeightedRandomSampler(np.arange(1, 24), 20)
        erase = transforms.RandomErasing(value="random")
        loader = DataLoader(Noisy(), 4, sampler=sampler, num_workers=workers, transform=erase)
        done = []

        def loss(out, y):
            done.append(1)
            if len(done) > steps:
                raise KeyboardInterrupt
            return nn.CrossEntropyLoss()(out, y)

        opt = optim.SGD(net.parameters(), 0.05, momentum=0.9)
        try:
            train.fit(
                net,
                loader,
                epochs=3,
                optimizer=opt,
                loss=loss,
                checkpoint=path,
                checkpoint_every=1,
                progress=False,
            )
        except KeyboardInterrupt:
            pass
        return {k: v.numpy().tobytes() for k, v in net.state_dict().items()}

    want, path = fit(99), tmp_path / "run.npz"
    fit(7, path)
    fc.manual_seed(1)
    assert fit(99, path) == want
