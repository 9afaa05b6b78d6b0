"""Data sets from their file formats, transforms against plain loops, and the loader's order, state and
threads."""

import gc
import gzip
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv.data import (
    CIFAR10,
    MNIST,
    DataLoader,
    FashionMNIST,
    FashionMNISTMini,
    fashion_mnist_or_mini,
    files,
    transforms,
)
from fastconv.random import manual_seed
from fastconv.tensor import Tensor


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_set(folder, kind="train", n=5, seed=0, gz=True, size=(28, 28)):
    """A tiny idx set; returns its arrays."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (n, *size), np.uint8), rng.integers(0, 10, n, np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for what, array in ((f"{kind}-images-idx3-ubyte", images), (f"{kind}-labels-idx1-ubyte", labels)):
        data = idx(array)
        (folder / (what + ".gz" * gz)).write_bytes(gzip.compress(data) if gz else data)
    return images, labels


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No data on this machine but what a test writes."""
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "SYSTEM_FOLDERS", (str(tmp_path / "system"),))


# ------------------------------------------------------------------------------------------------- formats
@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize("train, kind", [(True, "train"), (False, "t10k")])
def test_idx(tmp_path, gz, train, kind):
    images, labels = write_set(tmp_path, kind, gz=gz)
    ds = FashionMNIST(tmp_path, train=train, download=False)
    assert len(ds) == 5 and ds.images.shape == (5, 1, 28, 28)
    assert ds.images.dtype == np.uint8 and ds.labels.dtype == np.int64
    np.testing.assert_array_equal(ds.images[:, 0], images)
    x, y = ds[3]
    assert x.dtype == np.float32 and x.shape == (1, 28, 28) and type(y) is int and y == labels[3]
    np.testing.assert_array_equal(x[0], images[3].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(ds[-1][0], ds[4][0])
    with pytest.raises(IndexError):
        ds[5]
    assert ds.classes[9] == "Ankle boot" and len(MNIST.classes) == len(CIFAR10.classes) == 10


def cifar_records(n, seed):
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (n, 3073), np.uint8)
    records[:, 0] %= 10
    return records


@pytest.mark.parametrize("packed", [True, False])
def test_cifar10(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(files, "CIFAR_RECORDS", 3)
    names = [f"data_batch_{i}.bin" for i in (2, 1, 3, 4, 5)] + ["test_batch.bin"]  # stored out of order
    parts = {name: cifar_records(3, i) for i, name in enumerate(names)}
    if packed:
        with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
            for name, records in {"../../evil.bin": cifar_records(1, 9), **parts}.items():
                info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                info.size = records.size
                tar.addfile(info, io.BytesIO(records.tobytes()))
    else:
        for name, records in parts.items():
            path = tmp_path / "cifar-10-batches-bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(records.tobytes())
    train, test = CIFAR10(tmp_path, download=False), CIFAR10(tmp_path, train=False, download=False)
    want = np.concatenate([parts[f"data_batch_{i}.bin"] for i in range(1, 6)])
    np.testing.assert_array_equal(train.images, want[:, 1:].reshape(15, 3, 32, 32))
    np.testing.assert_array_equal(train.labels, want[:, 0])
    np.testing.assert_array_equal(test.images.reshape(3, -1), parts["test_batch.bin"][:, 1:])
    assert not list(tmp_path.rglob("evil.bin"))


def damage(tmp_path, what):
    """Spoil one file of a good set; returns its name and what the error must say."""
    images, labels = tmp_path / "train-images-idx3-ubyte.gz", tmp_path / "train-labels-idx1-ubyte.gz"
    good = gzip.decompress(images.read_bytes())
    if what == "magic":
        images.write_bytes(gzip.compress(b"\0\0\x0b\x03" + good[4:]))
        return images, "expected idx magic 00000803 .*got 00000b03"
    if what == "short data":
        images.write_bytes(gzip.compress(good[:-7]))
        return images, r"expected 3920 bytes of data \(5x28x28\), got 3913"
    if what == "surplus":
        images.write_bytes(gzip.compress(good + b"x"))
        return images, "expected 3920 bytes of data .*got 3921"
    if what == "huge header":
        images.write_bytes(gzip.compress(good[:4] + b"\xff" * 12 + good[16:]))
        return images, "expected 79228162458924105385300197375 bytes"
    if what == "short header":
        images.write_bytes(gzip.compress(good[:9]))
        return images, "expected a header of 16 bytes, got 9"
    if what == "empty":
        images.write_bytes(b"")
        return images, "got nothing"
    if what == "torn gzip":
        images.write_bytes(images.read_bytes()[:-9])
        return images, "expected a complete gzip file"
    if what == "flipped bit":
        data = bytearray(images.read_bytes())
        data[-6] ^= 1  # in the checksum
        images.write_bytes(data)
        return images, "expected a complete gzip file.*CRC"
    if what == "not gzip":
        images.write_bytes(b"<html>Not found</html>")
        return images, "expected a complete gzip file"
    if what == "count":
        labels.write_bytes(gzip.compress(idx(np.zeros(4, np.uint8))))
        return "", "FashionMNIST: 5 images but 4 labels"
    labels.write_bytes(gzip.compress(idx(np.full(5, 10, np.uint8))))
    return "", "FashionMNIST: labels must be 0 to 9, got 10"


@pytest.mark.parametrize(
    "what",
    [
        "magic",
        "short data",
        "surplus",
        "huge header",
        "short header",
        "empty",
        "torn gzip",
        "flipped bit",
        "not gzip",
        "count",
        "label",
    ],
)
def test_damaged_idx(tmp_path, what):
    write_set(tmp_path)
    path, message = damage(tmp_path, what)
    with pytest.raises(ValueError, match=message) as e:
        FashionMNIST(tmp_path, download=False)
    assert str(path) in str(e.value)
    with pytest.raises(ValueError):  # a damaged file is not silently replaced by the subset
        fashion_mnist_or_mini(tmp_path, download=False)


@pytest.mark.parametrize(
    "cut, message",
    [
        (slice(None, -1), r"test_batch.bin: expected 6146 bytes of data \(2 images\), got 6145"),
        (slice(None, 3073), "got 3073"),
        (slice(0, 0), "got 0"),
    ],
)
def test_damaged_cifar10(tmp_path, monkeypatch, cut, message):
    monkeypatch.setattr(files, "CIFAR_RECORDS", 2)
    (tmp_path / "test_batch.bin").write_bytes(cifar_records(2, 0).tobytes()[cut])
    with pytest.raises(ValueError, match=message):
        CIFAR10(tmp_path, train=False, download=False)


def test_damaged_cifar10_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CIFAR_RECORDS", 2)
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("data_batch_1.bin")
        info.size = 6146
        tar.addfile(info, io.BytesIO(cifar_records(2, 0).tobytes()))
    with pytest.raises(ValueError, match="without data_batch_2.bin, data_batch_3.bin"):
        CIFAR10(tmp_path, download=False)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz: expected a complete gzip file"):
        CIFAR10(tmp_path, download=False)


# ------------------------------------------------------------------------------------------------- where
# files are
def test_search_order(tmp_path, monkeypatch):
    """Each place in turn is found once everything before it is gone."""
    places = [tmp_path / "root", tmp_path / "env", tmp_path / "cache/fastconv/data", tmp_path / "system"]
    layouts = ["", "FashionMNIST/raw", "FashionMNIST", "fashion-mnist"]
    sets = [write_set(p / sub, seed=i) for i, (p, sub) in enumerate(zip(places, layouts))]
    monkeypatch.setenv("FASTCONV_DATA", str(places[1]))
    for place, layout, (images, _) in zip(places, layouts, sets):
        np.testing.assert_array_equal(FashionMNIST(places[0], download=False).images[:, 0], images)
        for file in (place / layout).iterdir():
            file.unlink()
    with pytest.raises(FileNotFoundError) as e:
        FashionMNIST(places[0], download=False)
    for text in (*map(str, places), "train-images-idx3-ubyte.gz", "dataset-fashion-mnist", "download=False"):
        assert text in str(e.value)


def test_named_folder_goes_first(tmp_path):
    write_set(tmp_path, seed=1)
    images, _ = write_set(tmp_path / "MNIST" / "raw", seed=2)
    np.testing.assert_array_equal(MNIST(tmp_path, download=False).images[:, 0], images)


def test_half_a_set_is_not_a_set(tmp_path):
    write_set(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError):
        FashionMNIST(tmp_path, download=False)


@pytest.mark.skipif(os.name == "nt", reason="Windows has %LOCALAPPDATA%")
def test_home_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    images, _ = write_set(tmp_path / ".cache/fastconv/data/mnist")
    np.testing.assert_array_equal(MNIST(download=False).images[:, 0], images)


def test_images_of_another_size_are_refused(tmp_path):
    write_set(tmp_path, size=(32, 30))
    with pytest.raises(
        ValueError, match=r"FashionMNIST: images must be 28x28, got 32x30 in .*train-images-idx3-ubyte\.gz"
    ):
        FashionMNIST(tmp_path, download=False)


def test_other_sets_files_are_refused(tmp_path):
    """MNIST and Fashion-MNIST share file names; mixing them up must not pass unseen."""
    write_set(tmp_path, n=12)
    labels = np.array([5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5], np.uint8)  # the first labels of MNIST
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    assert len(MNIST(tmp_path, download=False)) == 12
    with pytest.raises(ValueError, match="belongs to MNIST"):
        FashionMNIST(tmp_path, download=False)


# ------------------------------------------------------------------------------------------------- the
# shipped subset
def test_mini():
    for train, count in ((True, 600), (False, 100)):
        ds = FashionMNISTMini(train)
        assert ds.images.shape == (10 * count, 1, 28, 28)
        np.testing.assert_array_equal(np.bincount(ds.labels), [count] * 10)
        # real pictures, not copies
        assert len(np.unique(ds.images.reshape(len(ds), -1), axis=0)) > 0.99 * len(ds)
        assert 60 < ds.images.mean() < 90  # Fashion-MNIST's mean is 72.9
    folder = Path(files.__file__).parent / "mini"
    assert sum(f.stat().st_size for f in folder.iterdir()) < 4e6
    assert "Zalando" in (folder / "LICENSE").read_text()


def test_mini_when_there_is_nothing_else(tmp_path):
    train, test, note = fashion_mnist_or_mini(tmp_path, download=False)
    assert (len(train), len(test)) == (6000, 1000)
    assert "FashionMNISTMini" in note and "\n" not in note
    write_set(tmp_path, "train", 7), write_set(tmp_path, "t10k", 3)
    train, test, note = fashion_mnist_or_mini(tmp_path, download=False)
    assert (len(train), len(test), note) == (7, 3, None)


# ------------------------------------------------------------------------------------------------- transforms
def batches(draw_n=3, c=2, h=5, w=4, seed=0):
    return np.random.default_rng(seed).random((draw_n, c, h, w), np.float32)


def check_pure(transform, batch, rng_seed=1):
    """Same rng, same result; float32; the argument untouched."""
    before = batch.copy()
    a, b = (transform(batch, np.random.default_rng(rng_seed)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(batch, before)
    assert a.dtype == np.float32
    return a


def test_normalize():
    x = batches()
    y = check_pure(transforms.normalize((0.1, 0.2), (0.5, 2)), x)
    np.testing.assert_allclose(y[:, 1], (x[:, 1] - 0.2) / 2, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(transforms.normalize(0.5, 0.25)(x), (x - 0.5) / 0.25, rtol=1e-6)
    with pytest.raises(ValueError, match="2 channels"):
        transforms.normalize((1, 2, 3), 1)(x)
    with pytest.raises(ValueError, match="positive"):
        transforms.normalize(0, 0)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 4),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 3),
    st.integers(0, 99),
)
def test_pad_crop(n, c, h, w, p, seed):
    x = batches(n, c, h, w)
    y = check_pure(transforms.pad_crop(p), x, seed)
    top, left = np.random.default_rng(seed).integers(0, 2 * p + 1, size=(2, n))
    want = np.zeros_like(x)
    for i in range(n):
        for r in range(h):
            for col in range(w):
                rr, cc = r + top[i] - p, col + left[i] - p
                if 0 <= rr < h and 0 <= cc < w:
                    want[i, :, r, col] = x[i, :, rr, cc]
    np.testing.assert_array_equal(y, want)


def test_pad_crop_reaches_every_offset():
    x = np.arange(1, 2, dtype=np.float32).reshape(1, 1, 1, 1).repeat(500, 0)
    kept = transforms.pad_crop(1)(x, np.random.default_rng(0)).mean()
    assert abs(kept - 1 / 9) < 0.04


def test_horizontal_flip():
    x = batches(400)
    y = check_pure(transforms.horizontal_flip(0.3), x)
    flipped = [np.array_equal(b, a[..., ::-1]) for a, b in zip(x, y)]
    same = [np.array_equal(b, a) for a, b in zip(x, y)]
    assert all(f != s for f, s in zip(flipped, same)) and abs(np.mean(flipped) - 0.3) < 0.08
    np.testing.assert_array_equal(transforms.horizontal_flip(1)(x, np.random.default_rng(0)), x[..., ::-1])
    np.testing.assert_array_equal(transforms.horizontal_flip(0)(x, np.random.default_rng(0)), x)
    with pytest.raises(ValueError, match="between 0 and 1, got 1.5"):
        transforms.horizontal_flip(1.5)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
def test_resize(n, h, w, oh, ow):
    x = batches(n, 2, h, w)
    y = check_pure(transforms.resize((oh, ow)), x)
    assert y.shape == (n, 2, oh, ow)
    for i in range(oh):
        for j in range(ow):
            r, c = (max((k + 0.5) * s / o - 0.5, 0) for k, s, o in ((i, h, oh), (j, w, ow)))
            r0, c0 = int(r), int(c)
            r1, c1 = min(r0 + 1, h - 1), min(c0 + 1, w - 1)
            fr, fc = r - r0, c - c0
            want = (1 - fr) * ((1 - fc) * x[:, :, r0, c0] + fc * x[:, :, r0, c1]) + fr * (
                (1 - fc) * x[:, :, r1, c0] + fc * x[:, :, r1, c1]
            )
            np.testing.assert_allclose(y[:, :, i, j], want, rtol=1e-5, atol=1e-6)


def test_resize_agrees_with_pytorch():
    torch = pytest.importorskip("torch")
    x = batches(2, 3, 28, 28)
    want = torch.nn.functional.interpolate(torch.from_numpy(x), (32, 20), mode="bilinear").numpy()
    np.testing.assert_allclose(transforms.resize((32, 20))(x), want, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 4), st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.integers(0, 99))
def test_cutout(n, h, w, size, seed):
    x = batches(n, 2, h, w) + 1
    y = check_pure(transforms.cutout(size), x, seed)
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(0, h, size=n), rng.integers(0, w, size=n)
    want = x.copy()
    for i in range(n):
        top, left = rows[i] - size // 2, cols[i] - size // 2
        want[i, :, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
    np.testing.assert_array_equal(y, want)


def test_compose_draws_in_order():
    x, a, b = batches(8), transforms.pad_crop(2), transforms.horizontal_flip()
    rng = np.random.default_rng(5)
    np.testing.assert_array_equal(transforms.compose(a, b)(x, np.random.default_rng(5)), b(a(x, rng), rng))
    assert transforms.compose()(x, rng) is x


@pytest.mark.parametrize(
    "make",
    [
        lambda: transforms.pad_crop(-1),
        lambda: transforms.pad_crop(1.5),
        lambda: transforms.cutout(0),
        lambda: transforms.resize(0)(batches(), None),
        lambda: transforms.pad_crop(1)(np.ones((3, 4)), None),
        lambda: transforms.cutout(1)(np.ones(3), None),
        lambda: transforms.normalize(0, 1)(np.ones((3, 3))),
    ],
)
def test_transform_arguments(make):
    with pytest.raises((ValueError, TypeError)):
        make()


# ------------------------------------------------------------------------------------------------- loader
def pair(n=10):
    return np.arange(n * 4, dtype=np.float32).reshape(n, 1, 2, 2), np.arange(n)


def labels_of(iterable):
    return [y.numpy().tolist() for _, y in iterable]


def loader_threads():
    return [t for t in threading.enumerate() if t.name == "fastconv-loader"]


def wait_until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_loader_in_order():
    x, y = pair()
    loader = DataLoader((x, y), 4)
    got = list(loader)
    assert len(loader) == len(got) == 3 and labels_of(got) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    bx, by = got[1]
    assert isinstance(bx, Tensor) and bx.shape == (4, 1, 2, 2)
    assert bx.numpy().dtype == np.float32 and by.numpy().dtype == np.int64
    np.testing.assert_array_equal(bx.numpy(), x[4:8])
    dropped = DataLoader((x, y), 4, drop_last=True)
    assert len(dropped) == 2 and labels_of(dropped) == [[0, 1, 2, 3], [4, 5, 6, 7]]


class Items:
    def __init__(self, n=7):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return np.full((3, 2, 2), i, np.float64), i % 3


def test_loader_takes_anything_with_items():
    for dataset in (Items(), [Items()[i] for i in range(7)]):
        x, y = next(iter(DataLoader(dataset, 7)))
        assert x.shape == (7, 3, 2, 2) and x.numpy().dtype == np.float32
        np.testing.assert_array_equal(x.numpy()[:, 2, 1, 1], range(7))
        np.testing.assert_array_equal(y.numpy(), [i % 3 for i in range(7)])


def test_loader_gathers_image_sets_as_items_would():
    ds = FashionMNISTMini(False)
    x, y = next(iter(DataLoader(ds, 32, shuffle=True, seed=3)))
    items = [
        ds[i]
        for i in np.random.default_rng(np.random.SeedSequence(3, spawn_key=(0, 0))).permutation(1000)[:32]
    ]
    np.testing.assert_array_equal(x.numpy(), np.stack([i[0] for i in items]))
    np.testing.assert_array_equal(y.numpy(), [i[1] for i in items])


def test_loader_memory_is_channels_last():
    x, _ = next(iter(DataLoader(Items(), 5)))
    assert x.numpy().transpose(0, 2, 3, 1).flags.c_contiguous


def test_loader_pair_kinds():
    """Rows of any rank, Tensors as well as arrays, and real targets for regression."""
    x, y = np.random.default_rng(0).random((6, 3)), np.linspace(0, 1, 6)
    bx, by = next(iter(DataLoader((Tensor(x), y), 6)))
    np.testing.assert_array_equal(bx.numpy(), x.astype(np.float32))
    np.testing.assert_array_equal(by.numpy(), y.astype(np.float32))
    bx, _ = next(iter(DataLoader((np.full((2, 1, 1, 1), 200, np.uint8), [0, 1] @ np.eye(2, dtype=int)), 2)))
    assert bx.numpy().ravel().tolist() == [200, 200]  # values of a pair are not rescaled


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 30), st.integers(1, 12), st.booleans(), st.booleans())
def test_loader_visits_each_example_once(n, size, shuffle, drop_last):
    loader = DataLoader(pair(n), size, shuffle=shuffle, seed=1, drop_last=drop_last)
    seen = labels_of(loader)
    assert len(seen) == len(loader) and all(len(b) == size for b in seen[:-1])
    flat = sum(seen, [])
    assert len(set(flat)) == len(flat) == (n // size * size if drop_last else n)


def test_loader_seed():
    def runs(seed, epochs=2):
        loader = DataLoader(pair(50), 8, shuffle=True, seed=seed)
        return [sum(labels_of(loader), []) for _ in range(epochs)]

    a, b = runs(1), runs(1)
    assert a == b and a[0] != a[1] and a[0] != list(range(50)) and runs(2) != a
    assert DataLoader(pair()).seed != DataLoader(pair()).seed
    manual_seed(7)
    first = DataLoader(pair()).seed
    manual_seed(7)
    assert DataLoader(pair()).seed == first


def test_loader_draws_differ_between_batches_and_epochs():
    drawn = []

    def draw(x, rng):
        drawn.append(rng.random())
        return x

    loader = DataLoader(pair(12), 3, seed=0, transform=draw)
    list(loader), list(loader)
    assert len(set(drawn)) == 8
    again = drawn.copy()
    loader.load_state_dict({"epoch": 0, "batch": 0, "seed": 0})
    list(loader), list(loader)
    assert drawn[8:] == again


def augmented(seed=4):
    t = transforms.compose(transforms.pad_crop(1), transforms.horizontal_flip(), transforms.cutout(1))
    return DataLoader(pair(40), 6, shuffle=True, seed=seed, transform=t)


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(p.numpy(), q.numpy()) for s, t in zip(a, b) for p, q in zip(s, t)
    )


@pytest.mark.parametrize("epoch, batch", [(0, 0), (0, 3), (1, 1), (2, 6), (1, 7)])
def test_loader_resumes_bit_identically(epoch, batch):
    whole = augmented()
    epochs = [list(whole) for _ in range(4)]
    first = augmented()
    for _ in range(epoch):
        list(first)
    it = iter(first)
    for _ in range(batch):
        next(it)
    state = first.state_dict()
    assert state == {"epoch": epoch, "batch": batch, "seed": 4}
    second = augmented(seed=99)
    second.load_state_dict(state)
    assert second.state_dict() == state
    assert same(list(second), epochs[epoch][batch:])
    assert second.state_dict() == {"epoch": epoch + 1, "batch": 0, "seed": 4}
    assert same(list(second), epochs[epoch + 1])


def test_loader_state_counts_batches_handed_out_not_prefetched():
    loader = augmented()
    it = iter(loader)
    next(it)
    time.sleep(0.05)  # the thread is ahead by now
    assert loader.state_dict()["batch"] == 1


@pytest.mark.parametrize(
    "state",
    [
        {"epoch": 0, "batch": 8, "seed": 1},
        {"epoch": 0, "batch": -1, "seed": 1},
        {"epoch": -1, "batch": 0, "seed": 1},
        {"epoch": 0, "batch": 0, "seed": -1},
        {"epoch": 0, "batch": 0},
        {},
    ],
)
def test_loader_refuses_a_state_that_does_not_fit(state):
    with pytest.raises(ValueError, match="DataLoader.load_state_dict"):
        augmented().load_state_dict(state)


def test_loader_iterated_twice_at_once():
    loader, alone = augmented(), augmented()
    want = [list(alone), list(alone)]
    a, b = iter(loader), iter(loader)
    got_a, got_b = [], []
    for p, q in zip(a, b):
        got_a.append(p)
        got_b.append(q)
    assert same(got_a, want[0]) and same(got_b, want[1])
    assert not same(got_a, got_b)


def test_loader_stopping_early_starts_the_next_epoch():
    loader, whole = augmented(), augmented()
    epochs = [list(whole) for _ in range(2)]
    for _ in loader:
        break
    assert same(list(loader), epochs[1])


@pytest.mark.parametrize("end", ["exhaust", "close", "drop", "break", "unstarted"])
def test_loader_thread_ends(end):
    assert wait_until(lambda: not loader_threads())
    it = iter(DataLoader(pair(20), 1, transform=lambda x, rng: time.sleep(0.02) or x))
    if end != "unstarted":
        next(it)
        assert len(loader_threads()) == 1
    if end == "exhaust":
        list(it)
    elif end == "close":
        it.close()
    elif end == "break":
        for _ in it:
            break
    del it
    gc.collect()
    assert not loader_threads()


def test_loader_prefetches_two_batches():
    made = []

    def note(x, rng):
        made.append(len(made))
        return x

    it = iter(DataLoader(pair(100), 1, transform=note))
    next(it)
    assert wait_until(lambda: len(made) == 3)
    time.sleep(0.05)
    assert len(made) == 3  # one handed out, two ahead, no more
    it.close()


def test_loader_raises_the_threads_exception():
    class Broken(Items):
        def __getitem__(self, i):
            if i == 4:
                raise KeyError("item 4 is missing")
            return super().__getitem__(i)

    seen = []
    with pytest.raises(KeyError, match="item 4 is missing"):
        for _, y in DataLoader(Broken(), 2):
            seen.append(len(y.numpy()))
    assert seen == [2, 2]  # what came before the failure was delivered
    gc.collect()
    assert wait_until(lambda: not loader_threads())


def test_unfinished_iterator_does_not_block_the_exit():
    code = (
        "import numpy as np; from fastconv.data import DataLoader; "
        "it = iter(DataLoader((np.zeros((99, 1)), np.zeros(99, int)))); next(it); print('end')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def ragged():
    return [(np.zeros((1, 2 + i, 2)), 0) for i in range(3)]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DataLoader(pair(), 0), "batch_size must be at least 1"),
        (lambda: DataLoader(pair(), 2.5), "batch_size must be an int"),
        (lambda: DataLoader((np.zeros((3, 1)), np.zeros(4))), "one row per example, got 3x1 and 4"),
        (lambda: DataLoader((np.zeros((0, 1)), np.zeros(0))), "the data set is empty"),
        (lambda: DataLoader([]), "the data set is empty"),
        (lambda: DataLoader(3), "dataset must be a pair of arrays or have __len__"),
        (lambda: DataLoader(pair(), transform="flip"), "transform must be callable, got 'flip'"),
        (lambda: DataLoader(pair(), seed=-1), "seed must be at least 0"),
        (
            lambda: list(DataLoader(pair(), 2, transform=lambda x, rng: None)),
            "transform must return an array of 2 images",
        ),
        (lambda: list(DataLoader(ragged(), 3)), "items of one batch differ in shape"),
    ],
)
def test_loader_arguments(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
