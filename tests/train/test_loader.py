"""Batches of anything: tuples, dicts, single arrays, data sets that can only be iterated; what is refused,
and how."""

from __future__ import annotations

import re
import traceback
from collections import namedtuple

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, train
from fastconv.data import DataLoader


class Items:
    """Any function of the number as a data set."""

    def __init__(self, item, n=7):
        self.item, self.n = item, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.item(i)


class Stream:
    """The same without numbers."""

    def __init__(self, item, n=7):
        self.item, self.n, self.epochs = item, n, 0

    def __iter__(self):
        self.epochs += 1
        return (self.item(i) for i in range(self.n))


class SizedStream(Stream):
    def __len__(self):
        return self.n


def image(i, dtype=np.float64):
    return np.full((3, 2, 2), i, dtype)


Sample = namedtuple("Sample", "image label")
FORMS = {
    # item(i) -> what a batch of items 0, 1, 2 is, as (dtype, shape) or a value
    "pair": (lambda i: (image(i), i), (("float32", (3, 3, 2, 2)), ("int64", (3,)))),
    "list": (lambda i: [image(i), i], (("float32", (3, 3, 2, 2)), ("int64", (3,)))),
    "triple": (
        lambda i: (image(i, np.uint8), np.int32(i), 0.5 * i),
        (("float32", (3, 3, 2, 2)), ("int64", (3,)), ("float32", (3,))),
    ),
    "one of one": (lambda i: (image(i),), (("float32", (3, 3, 2, 2)),)),
    "array": (image, ("float32", (3, 3, 2, 2))),
    "tensor": (lambda i: fc.tensor(image(i)), ("float64", (3, 3, 2, 2))),
    "tracked": (lambda i: fc.tensor(image(i), requires_grad=True), ("float64", (3, 3, 2, 2))),
    "tensors": (
        lambda i: (fc.tensor(image(i, np.uint8)), fc.tensor(i, dtype="int32")),
        (("uint8", (3, 3, 2, 2)), ("int32", (3,))),
    ),
    "number": (lambda i: i, ("int64", (3,))),
    "real number": (lambda i: float(i), ("float32", (3,))),
    "words of numbers": (lambda i: (np.full(4, i), i), (("int64", (3, 4)), ("int64", (3,)))),
    "dict": (
        lambda i: {
            "image": image(i),
            "bytes": image(i, np.uint8),
            "n": i,
            "name": f"no {i}",
            "mask": np.array(i > 0),
        },
        {
            "image": ("float32", (3, 3, 2, 2)),
            "bytes": ("uint8", (3, 3, 2, 2)),
            "n": ("int64", (3,)),
            "name": ["no 0", "no 1", "no 2"],
            "mask": ("bool", (3,)),
        },
    ),
    "nested": (
        lambda i: (image(i), {"boxes": (np.arange(4), [1.0, 2.0]), "id": str(i)}),
        (
            ("float32", (3, 3, 2, 2)),
            {"boxes": (("int64", (3, 4)), ("float32", (3, 2))), "id": ["0", "1", "2"]},
        ),
    ),
    "named": (lambda i: Sample(image(i), i), Sample(("float32", (3, 3, 2, 2)), ("int64", (3,)))),
    "words": (lambda i: (image(i), "cat"), (("float32", (3, 3, 2, 2)), ["cat"] * 3)),
}


def form(value):
    if isinstance(value, fc.Tensor):
        return str(value.dtype), value.shape
    if isinstance(value, tuple):
        return type(value)(*map(form, value)) if hasattr(value, "_fields") else tuple(map(form, value))
    return {k: form(v) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("dataset", [Items, Stream, SizedStream])
def test_batches_have_the_form_of_their_items(kind, dataset):
    item, expected = FORMS[kind]
    batches = list(DataLoader(dataset(item), 3))
    assert len(batches) == 3
    assert form(batches[0]) == expected
    first = batches[1]
    while not isinstance(first, fc.Tensor):
        first = first["image"] if isinstance(first, dict) else first[0]
    np.testing.assert_array_equal(first.numpy().reshape(3, -1)[:, 0], [3, 4, 5])
    if first.ndim == 4:
        assert first.numpy().transpose(0, 2, 3, 1).flags.c_contiguous


def test_like_torchs_collate():
    """The same values in the same places."""
    torch = pytest.importorskip("torch")

    def item(i):
        return image(i, np.float32), {"n": i, "name": f"no {i}", "boxes": (np.arange(4.0), i)}

    theirs = next(iter(torch.utils.data.DataLoader(Items(item), 3)))
    ours = next(iter(DataLoader(Items(item), 3)))
    np.testing.assert_array_equal(ours[0].numpy(), theirs[0].numpy())
    assert ours[1]["n"].tolist() == theirs[1]["n"].tolist() and ours[1]["name"] == theirs[1]["name"]
    for a, b in zip(ours[1]["boxes"], theirs[1]["boxes"], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_data_set_of_torch():
    torch = pytest.importorskip("torch")
    x, y = torch.arange(12.0).reshape(6, 2), torch.arange(6)
    bx, by = next(iter(DataLoader(torch.utils.data.TensorDataset(x, y), 4)))
    assert bx.tolist() == x[:4].tolist() and by.tolist() == [0, 1, 2, 3]

    class Numbers(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([(torch.ones(2) * i, i) for i in range(3)])

    class Sized(Numbers):
        def __len__(self):
            return 3

    assert [y.tolist() for _, y in DataLoader(Numbers(), 2)] == [[0, 1], [2]]
    assert [y.tolist() for _, y in DataLoader(Sized(), 2)] == [[0, 1], [2]] and len(
        DataLoader(Sized(), 2)
    ) == 2
    assert next(iter(DataLoader(x, 2))).tolist() == [[0, 1], [2, 3]]


def test_whole_arrays():
    x, y = np.arange(10).reshape(5, 2), np.arange(5)
    for dataset in (x, fc.tensor(x)):  # a row of two is no pair
        batches = list(DataLoader(dataset, 2))
        assert [b.tolist() for b in batches] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
        assert batches[0].dtype == np.int64
    bx, by, bw = next(iter(DataLoader((x, y, y / 2), 3)))
    assert (bx.dtype, by.dtype, bw.dtype) == (np.int64, np.int64, np.float32) and bw.tolist() == [0, 0.5, 1]
    images = np.zeros((5, 1, 2, 2), np.uint8)
    assert next(iter(DataLoader((images, y), 2)))[0].dtype == np.float32  # convolutions read floats
    assert next(iter(DataLoader(images, 2))).dtype == np.uint8
    (only,) = next(iter(DataLoader((x,), 2)))
    assert only.tolist() == [[0, 1], [2, 3]]
    rows = DataLoader([np.ones(2), np.zeros(2), np.ones(2)], 3)  # a list of arrays: examples
    assert next(iter(rows)).tolist() == [[1, 1], [0, 0], [1, 1]]
    shuffled = DataLoader(x, 5, shuffle=True, seed=1, transform=lambda b, rng: -b)
    (batch,) = list(shuffled)
    assert sorted(batch.tolist()) == sorted((-x).tolist()) and batch.tolist() != (-x).tolist()


def test_transforms_see_the_images_only():
    loader = DataLoader(Items(lambda i: Sample(image(i), i)), 7, transform=lambda x, rng: x + 1)
    batch = next(iter(loader))
    assert batch.image[:, 0, 0, 0].tolist() == list(range(1, 8)) and batch.label.tolist() == list(range(7))
    with pytest.raises(
        TypeError, match="transform needs items that are arrays.*got a dict; transform them in the data set"
    ):
        list(DataLoader(Items(lambda i: {"x": image(i)}), 2, transform=lambda x, rng: x))


# ------------------------------------------------------------------------------------------------- iterable
# data sets
def labels(loader):
    return [y.tolist() for _, y in loader]


def test_a_stream_comes_in_its_order():
    stream = Stream(lambda i: (image(i), i))
    loader = DataLoader(stream, 3)
    assert labels(loader) == [[0, 1, 2], [3, 4, 5], [6]] and labels(loader) == [[0, 1, 2], [3, 4, 5], [6]]
    assert stream.epochs == 2
    assert labels(DataLoader(stream, 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]
    assert labels(DataLoader(Stream(lambda i: (image(i), i), 0), 3)) == []
    with pytest.raises(
        TypeError, match="the number of batches is not known, because the data set only has __iter__"
    ):
        len(loader)
    assert [len(DataLoader(SizedStream(image), 3, drop_last=d)) for d in (False, True)] == [3, 2]


@pytest.mark.parametrize("dataset", [Stream, SizedStream, Items])
@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_stream_resumes_bit_identically(dataset, done):
    def loader(seed):
        return DataLoader(
            dataset(lambda i: (image(i), i)), 3, seed=seed, transform=lambda x, rng: x + rng.random(x.shape)
        )

    whole = loader(4)
    epochs = [[x.tolist() for x, _ in whole] for _ in range(2)]
    first = loader(4)
    it = iter(first)
    for _ in range(done):
        next(it)
    second = loader(9)
    second.load_state_dict(first.state_dict())
    assert [x.tolist() for x, _ in second] == epochs[0][done:] and [x.tolist() for x, _ in second] == epochs[
        1
    ]


def test_a_long_stream_is_not_read_ahead():
    seen = []

    def item(i):
        seen.append(i)
        return image(i), i

    it = iter(DataLoader(Stream(item, 10**9), 2))
    assert next(it)[1].tolist() == [0, 1]
    it.close()
    assert len(seen) <= 8


# ------------------------------------------------------------------------------------------------- refusals
def generator():
    yield image(0), 0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DataLoader(Items), "got the class Items; make one: Items"),
        (lambda: DataLoader("images.npz"), "got a str; read it first"),
        (
            lambda: DataLoader({"x": np.ones(3), "y": np.ones(3)}),
            r"got a dict; give its arrays as a tuple, \(X, y\)",
        ),
        (lambda: DataLoader(generator()), "got a generator, which can be iterated over only once.*give list"),
        (
            lambda: DataLoader(iter([(image(0), 0)])),
            "got a list_iterator, which can be iterated over only once",
        ),
        (
            lambda: DataLoader(None),
            "dataset must be a pair of arrays or have __len__ and __getitem__, or __iter__, got NoneType",
        ),
        (lambda: DataLoader(Stream(image), shuffle=True), "shuffle needs __getitem__ and __len__"),
        (
            lambda: DataLoader((np.ones((2, 2)), np.array(["a", "b"]))),
            "arrays must hold numbers, got <U1; number the classes",
        ),
        (lambda: DataLoader((np.ones((3, 2)), np.array([{}, 1, 2]))), "arrays must hold numbers, got object"),
        (
            lambda: DataLoader((np.ones((3, 2)), np.ones(3), np.ones(4))),
            "one row per example, got 3x2 and 3 and 4",
        ),
        (lambda: DataLoader(np.array(3.0)), "one row per example, got scalar"),
        (lambda: DataLoader(Items(image, 0)), "the data set is empty"),
        (lambda: DataLoader(Items(image, -1)), "__len__"),
    ],
)
def test_what_is_no_data_set_is_refused_at_construction(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


ODD = {
    # the item of number 4, among pairs of an image and a number -> the error
    "shape": ((np.zeros((3, 4, 2)), 0), r"item 3\[0\] is 3x2x2, item 4\[0\] is 3x4x2; resize or crop them"),
    "label": ((image(0), [1, 2]), r"item 3\[1\] is scalar, item 4\[1\] is 2"),
    "length": ((image(0), 0, 0), "item 4 is 3 parts, item 3 has 2 parts"),
    "no tuple": (image(0), "item 4 is a ndarray, item 3 has 2 parts"),
    "None": ((image(0), None), r"item 4\[1\] is a NoneType \(object\); expected arrays, numbers"),
    "object": ((object(), 0), r"item 4\[0\] is a object"),
    "ragged": (([[1, 2], [3]], 0), r"item 4\[0\] is a list"),
    "word": ((image(0), "cat"), r"item 4\[1\] is a str \(<U3\)"),
}


@pytest.mark.parametrize("dataset", [Items, Stream])
@pytest.mark.parametrize("kind", ODD)
def test_items_that_do_not_fit_are_named_by_number(kind, dataset):
    odd, message = ODD[kind]
    loader = DataLoader(dataset(lambda i: odd if i == 4 else (image(i), i)), 3)
    with pytest.raises((TypeError, ValueError), match=f"DataLoader: .*{message}"):
        list(loader)


@pytest.mark.parametrize(
    "other, message",
    [
        ({"a": 1}, r"item 1 has the keys \['a'\], item 0 \['a', 'b'\]"),
        (3, r"item 1 has the keys of no dict \(a int\)"),
    ],
)
def test_dicts_that_differ(other, message):
    with pytest.raises(ValueError, match=message):
        list(DataLoader([{"a": 1, "b": 2}, other], 2))


@pytest.mark.parametrize("error", [IndexError, KeyError, StopIteration, OSError])
@pytest.mark.parametrize("dataset", [Items, Stream])
def test_errors_of_a_data_set_say_where(dataset, error):
    """The traceback leads into the data set, and a note names the item; nothing ends an epoch early without a
    word."""

    def item(i):
        if i == 4:
            raise error("no such file")
        return image(i), i

    loader, seen = DataLoader(dataset(item), 3), []
    with pytest.raises(RuntimeError if error is StopIteration else error) as e:
        for _, y in loader:
            seen.append(y.tolist())
    assert seen == [[0, 1, 2]]
    text = "".join(traceback.format_exception(e.value))
    assert "raise error" in text and "no such file" in text
    if hasattr(e.value, "add_note"):
        assert re.search(f"DataLoader: item 4 of {dataset.__name__}", text)


# ------------------------------------------------------------------------------------------------- training
@pytest.mark.parametrize(
    "item, got",
    [
        (lambda i: (np.ones(2), 0, 1.0), "a tuple of 3"),
        (lambda i: {"x": np.ones(2), "y": 0}, "a dict of 2"),
        (lambda i: np.ones(2), "a Tensor"),
    ],
)
def test_training_takes_pairs_only(item, got):
    net, loader = nn.Linear(2, 2), DataLoader(Items(item, 4), 2)
    expected = rf"expected batches \(X, y\), got {got}; give a loader of pairs"
    with pytest.raises(TypeError, match=f"fit: {expected}"):
        train.fit(net, loader, progress=False)
    with pytest.raises(TypeError, match=f"evaluate: {expected}"):
        train.evaluate(net, loader)


def test_training_on_a_stream():
    net, loader = nn.Linear(2, 2), DataLoader(SizedStream(lambda i: (np.ones(2), i % 2), 6), 2)
    assert len(train.fit(net, loader, loader, epochs=2, progress=False)) > 0
    with pytest.raises(TypeError, match="train.fit needs it: give the data set a __len__"):
        train.fit(net, DataLoader(Stream(lambda i: (np.ones(2), i % 2), 6), 2), progress=False)


@pytest.mark.parametrize("arrays", [True, False])
def test_a_batch_can_be_made_alone(arrays):
    x, y = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6)
    loader = DataLoader((x, y) if arrays else list(zip(x, y)), 3)
    batch, labels = loader.make_batch([2, 0, 5], np.random.default_rng(0))
    np.testing.assert_array_equal(batch, x[[2, 0, 5]])
    np.testing.assert_array_equal(labels, [2, 0, 5])
