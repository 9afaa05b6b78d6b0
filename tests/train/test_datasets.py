"""Data sets that are put together and split, and those of files in folders."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import data
from fastconv.data import (
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    DatasetFolder,
    ImageFolder,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
    transforms,
)


class Squares(Dataset):
    def __init__(self, n=5):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return np.full(2, i, np.float32), i * i


class Count(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.n


def seeded(seed):
    return fc.Generator().manual_seed(seed)


def labels(loader):
    return [y.tolist() for _, y in loader]


# ------------------------------------------------------------------------------------------------- together
def test_tensors():
    x, y = fc.tensor(np.arange(6.0).reshape(3, 2)), fc.tensor([3, 4, 5], dtype="int32")
    ds = TensorDataset(x, y)
    assert (
        len(ds) == 3
        and [t.tolist() for t in ds[1]] == [[2, 3], 4]
        and [t.shape for t in ds[:2]] == [(2, 2), (2,)]
    )
    for source in (ds, Subset(ds, [0, 1, 2]), [ds[i] for i in range(3)]):  # gathered at once, or item by item
        bx, by = next(iter(DataLoader(source, 3)))
        assert (bx.dtype, by.dtype) == (np.float64, np.int32)  # as the tensors have it
        assert bx.tolist() == x.tolist() and by.tolist() == [3, 4, 5]
    assert labels(DataLoader(TensorDataset(np.ones((4, 1)), np.arange(4)), 3)) == [[0, 1, 2], [3]]


def test_a_changed_getitem_is_not_passed_by():
    class Negative(TensorDataset):
        def __getitem__(self, index):
            return tuple(-t for t in super().__getitem__(index))

    x = fc.arange(4)
    assert next(iter(DataLoader(Negative(x), 4)))[0].tolist() == [0, -1, -2, -3]
    assert next(iter(DataLoader(Subset(Negative(x), [3, 1]), 4)))[0].tolist() == [-3, -1]

    class Marked(data.FashionMNISTMini):
        def __getitem__(self, i):
            return np.zeros((1, 2, 2)), i

    assert next(iter(DataLoader(Marked(train=False), 3)))[0].shape == (3, 1, 2, 2)


def test_parts():
    part = Subset(Squares(), [4, 0, 2])
    assert len(part) == 3 and [part[i][1] for i in range(3)] == [16, 0, 4] and part[-1][1] == 4
    assert labels(DataLoader(part, 2)) == [[16, 0], [4]]
    images = data.FashionMNISTMini(train=False)
    inner = Subset(Subset(images, range(100, 200)), np.array([5, 7]))
    x, y = next(iter(DataLoader(inner, 2)))
    assert y.tolist() == images.labels[[105, 107]].tolist()
    np.testing.assert_array_equal(x.numpy(), np.stack([images[105][0], images[107][0]]))


def test_one_after_the_other():
    both = Squares(3) + Squares(2)
    assert isinstance(both, ConcatDataset) and len(both) == 5 and both.cumulative_sizes == [3, 5]
    assert [both[i][1] for i in range(-5, 5)] == [0, 1, 4, 0, 1] * 2
    for i in (5, -6):
        with pytest.raises(IndexError, match="ConcatDataset: item .* is out of range for 5 items"):
            both[i]
    assert labels(DataLoader(both, 5)) == [[0, 1, 4, 0, 1]]
    chain = Count(2) + Count(3)
    assert isinstance(chain, ChainDataset) and len(chain) == 5
    assert [b.tolist() for b in DataLoader(chain, 4)] == [[0, 1, 0, 1], [2]]


def test_side_by_side():
    assert StackDataset(range(3), "abc")[2] == (2, "c") and len(StackDataset(range(3))) == 3
    batch = next(iter(DataLoader(StackDataset(image=Squares(3), name="abc"), 3)))
    assert batch["name"] == ["a", "b", "c"] and batch["image"][1].tolist() == [0, 1, 4]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 9))
def test_random_split(n, parts, seed):
    torch = pytest.importorskip("torch")
    if sum(parts) == 0:
        parts = [1]
    shares = [p / sum(parts) for p in parts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a part is empty
        found = random_split(range(n), shares, seeded(seed))
        theirs = torch.utils.data.random_split(range(n), shares)
    assert [len(p) for p in found] == [len(p) for p in theirs]
    assert sorted(i for p in found for i in p) == list(range(n))
    sizes = [len(p) for p in found]
    again = random_split(range(n), sizes, generator=seeded(seed)) if sum(sizes) != 1 else found
    assert [list(p.indices) for p in found] == [list(p.indices) for p in again]


def test_an_empty_part_is_noticed():
    with pytest.warns(
        UserWarning, match=r"random_split: \[0.5, 0.5\] of 1 items leaves a part empty: \[1, 0\]"
    ):
        random_split(range(1), [0.5, 0.5])


def test_a_split_follows_manual_seed():
    def split(seed):
        fc.manual_seed(seed)
        return [list(p.indices) for p in random_split(range(20), [15, 5])]

    assert split(0) == split(0) != split(1)


BAD = {
    "no tensors": (lambda: TensorDataset(), "TensorDataset: expected at least one tensor"),
    "lengths": (lambda: TensorDataset(np.ones((3, 2)), np.ones(4)), "one row per example, got 3x2 and 4"),
    "0-d": (
        lambda: TensorDataset(fc.tensor(1.0)),
        "TensorDataset: tensors need one row per example, got scalar",
    ),
    "indices": (
        lambda: Subset(Squares(), iter([1])),
        "Subset: indices must be a sequence, got list_iterator",
    ),
    "concat": (lambda: ConcatDataset([]), "ConcatDataset: expected at least one data set, got none"),
    "concat stream": (lambda: ConcatDataset([Count(2)]), "got Count; ChainDataset takes iterable ones"),
    "concat int": (lambda: ConcatDataset(3), "ConcatDataset: expected a list of data sets, got 3"),
    "chain": (lambda: ChainDataset([3]), "ChainDataset: expected data sets with __iter__, got int"),
    "stack": (lambda: StackDataset(), "StackDataset: expected data sets either as tuple .*, got none"),
    "stack both": (lambda: StackDataset([1], x=[1]), "got both"),
    "stack lengths": (
        lambda: StackDataset([1], [1, 2]),
        r"StackDataset: the data sets differ in length: \[1, 2\]",
    ),
    "split sum": (
        lambda: random_split(range(10), [3, 3]),
        r"random_split: lengths must add up to the 10 items",
    ),
    "split fractions": (
        lambda: random_split(range(10), [0.5, 0.4]),
        "lengths must add up to the 10 items .* or to 1",
    ),
    "split word": (lambda: random_split(range(10), ["a"]), "lengths must be a number, got 'a'"),
    "split negative": (lambda: random_split(range(10), [11, -1]), "lengths must be at least 0, got -1"),
    "split one": (lambda: random_split(range(10), 10), "lengths must be a sequence, got 10"),
    "split stream": (lambda: random_split(iter([]), [1]), "dataset needs __len__, got list_iterator"),
    "split generator": (lambda: random_split(range(2), [1, 1], 0), "generator must be a fastconv.Generator"),
    "base": (lambda: Dataset()[0], r"Dataset: a data set needs __getitem__\(i\)"),
    "base iterable": (
        lambda: iter(IterableDataset()),
        r"IterableDataset: an iterable data set needs __iter__",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_data_sets_refuse(case):
    make, message = BAD[case]
    with pytest.raises((TypeError, ValueError, NotImplementedError), match=message):
        make()


def test_the_names_where_pytorch_has_them():
    from fastconv.utils import data as theirs

    assert {getattr(theirs, n) is getattr(data, n) for n in theirs.__all__} == {True}
    assert fc.utils.data.DataLoader is DataLoader and data.datasets.ImageFolder is ImageFolder
    torch = pytest.importorskip("torch")
    left = {"IterDataPipe", "MapDataPipe", "DFIterDataPipe", "DataChunk", "dataset"}
    names = {
        n for n in torch.utils.data.__all__ if not n.startswith(("_", "functional", "argument", "guaranteed"))
    }
    missing = {n for n in names if not hasattr(theirs, n)} - left
    assert missing <= {"non_deterministic", "runtime_validation", "runtime_validation_disabled"}


# ------------------------------------------------------------------------------------------------- image sets
@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_set_with_a_transform(workers):
    """Objects of transforms see whole batches; a user's function sees single images, with the same result."""
    fixed = [transforms.CenterCrop(20), transforms.ToTensor(), transforms.Normalize(0.5, 0.25)]
    batched = data.FashionMNISTMini(False, transform=transforms.Compose(fixed))
    alone = data.FashionMNISTMini(False, transform=transforms.Compose([*fixed, lambda image: image]))
    loaders = [DataLoader(ds, 16, shuffle=True, seed=1, num_workers=workers) for ds in (batched, alone)]
    for (a, i), (b, j) in zip(*loaders):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert a.shape[1:] == (1, 20, 20) and a.dtype == np.float32 and i.tolist() == j.tolist()
    assert [type(t) for t in (batched[0][0], batched[0][1])] == [fc.Tensor, int]
    np.testing.assert_array_equal(batched[3][0].numpy(), alone[3][0].numpy())


def test_an_image_set_with_a_target_transform():
    ds = data.FashionMNISTMini(False, target_transform=lambda label: label % 2)
    _, y = next(iter(DataLoader(ds, 50)))
    assert y.tolist() == (ds.labels[:50] % 2).tolist()
    for options in ({"transform": 3}, {"target_transform": "x"}):
        with pytest.raises(TypeError, match="FashionMNISTMini: .*transform must be callable"):
            data.FashionMNISTMini(False, **options)
    with pytest.raises(TypeError, match="MNIST: the third argument is download; give transform= by its name"):
        data.MNIST(None, True, transforms.ToTensor())


@pytest.mark.parametrize(
    "labels, error, message",
    [
        ([0, -1], ValueError, "Pairs: labels must be 0 to 1, got -1; the label file is damaged"),
        ([0, 2], ValueError, "Pairs: labels must be 0 to 1, got 2"),
        ([0.5, 1.0], TypeError, "Pairs: labels must be ints, got float64; convert them"),
        ([0], ValueError, "Pairs: 2 images but 1 labels"),
    ],
)
def test_labels_of_an_image_set(labels, error, message):
    class Pairs(data.ImageSet):
        classes = ("a", "b")

    with pytest.raises(error, match=message):
        Pairs(np.zeros((2, 1, 3, 3), np.uint8), np.array(labels))


# ------------------------------------------------------------------------------------------------- folders
@pytest.fixture
def folder(tmp_path):
    """Two classes with two and one pictures, and files of other kinds."""
    Image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name in ("dog/b.png", "dog/a.PNG", "cat/more/c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 5, 3), np.uint8)).save(path)
    (tmp_path / "dog" / "notes.txt").write_text("x")
    (tmp_path / "readme.txt").write_text("x")
    return tmp_path


def test_image_folder(folder):
    ds = ImageFolder(folder, transform=transforms.ToTensor(), target_transform=lambda i: i + 10)
    assert ds.classes == ["cat", "dog"] and ds.class_to_idx == {"cat": 0, "dog": 1}
    names = [(path.removeprefix(f"{folder}/").replace("\\", "/"), i) for path, i in ds.samples]
    assert names == [("cat/more/c.png", 0), ("dog/a.PNG", 1), ("dog/b.png", 1)]
    assert ds.targets == [0, 1, 1] and ds.imgs is ds.samples and len(ds) == 3
    x, y = next(iter(DataLoader(ds, 3, num_workers=2)))
    assert x.shape == (3, 3, 6, 5) and x.dtype == np.float32 and y.tolist() == [10, 11, 11]
    assert x.max().item() <= 1 and repr(ds) == f"ImageFolder(3 files of 2 classes in {folder})"
    with pytest.raises(TypeError, match=r"item 0\[0\] is a Pillow image; .*transforms.ToTensor"):
        next(iter(DataLoader(ImageFolder(folder), 2)))


def test_modes_and_formats(folder):
    from PIL import Image

    grey = np.arange(30, dtype=np.uint8).reshape(6, 5)
    Image.fromarray(grey).save(folder / "cat" / "grey.bmp")
    Image.fromarray(np.dstack([grey] * 4)).save(folder / "cat" / "alpha.png")
    Image.fromarray(np.dstack([grey] * 3)).save(folder / "cat" / "photo.jpeg", quality=100)
    ds = ImageFolder(folder, transform=transforms.PILToTensor())
    assert len(ds) == 6 and {ds[i][0].shape for i in range(6)} == {(3, 6, 5)} and ds[0][0].dtype == np.uint8


def test_data_of_other_kinds(folder):
    ds = DatasetFolder(folder, lambda path: len(path), extensions=(".txt",), allow_empty=True)
    assert len(ds) == 1 and ds.classes == ["cat", "dog"] and ds[0][1] == 1
    chosen = DatasetFolder(folder, str, is_valid_file=lambda path: path.endswith("c.png"), allow_empty=True)
    assert len(chosen) == 1

    class Upside(DatasetFolder):
        def find_classes(self, directory):
            return ["dog"], {"dog": 0}

    assert Upside(folder, str, (".png",)).targets == [0, 0]


def test_folders_refuse(folder, tmp_path):
    cases = [
        (
            lambda: ImageFolder(folder / "none"),
            FileNotFoundError,
            "ImageFolder: .* is not a folder; root has one folder",
        ),
        (
            lambda: ImageFolder(folder / "cat" / "more"),
            FileNotFoundError,
            "has no folders; expected one for each",
        ),
        (lambda: DatasetFolder(folder, str), ValueError, "either extensions or is_valid_file, got neither"),
        (lambda: DatasetFolder(folder, str, (".a",), is_valid_file=str), ValueError, "got both"),
        (
            lambda: DatasetFolder(folder, 3, (".a",)),
            TypeError,
            "DatasetFolder: loader must be callable, got 3",
        ),
        (lambda: ImageFolder(folder, 3), TypeError, "ImageFolder: transform must be callable, got 3"),
    ]
    for make, error, message in cases:
        with pytest.raises(error, match=message):
            make()
    (folder / "ant").mkdir()
    with pytest.raises(
        FileNotFoundError, match="found no files with the endings .* for ant in .*allow_empty=True"
    ):
        ImageFolder(folder)
    assert ImageFolder(folder, allow_empty=True).targets == [1, 2, 2]
    (folder / "ant" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="ImageFolder: .*bad.png cannot be read as an image"):
        ImageFolder(folder)[0]


def test_without_pillow_the_error_says_how_to_install_it(folder):
    code = f"""
import sys
sys.modules["PIL"] = None
from fastconv.data import ImageFolder, transforms
ds = ImageFolder({str(folder)!r}, transforms.ToTensor())
for work in (lambda: ds[0], lambda: transforms.ToPILImage()(__import__("numpy").zeros((2, 2), "uint8"))):
    try:
        work()
    except ImportError as e:
        print(e)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all('pip install "fastconv[images]"' in line for line in lines)
    assert lines[0].startswith("ImageFolder: ") and lines[1].startswith("ToPILImage: ")
