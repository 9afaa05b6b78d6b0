"""Image data sets: found on this machine, or downloaded once, and read from their original files.

A data set is searched in ``root``, ``$FASTCONV_DATA``, the user's cache and ``/usr/share/datasets``. In each
of these, its usual subfolders are searched first, and then the folder itself. If no folder has it, it is
downloaded into the first of them.
"""

# NumPy declares some methods, such as reshape, without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check, shape_str
from ..creation import from_numpy
from ..typing import Array, PathLike
from .dataset import Dataset
from .download import download
from .files import data_folders, read_cifar, read_idx
from .folder import DatasetFolder, ImageFolder
from .transforms import Transform

__all__ = [
    "CIFAR10",
    "MNIST",
    "DatasetFolder",
    "FashionMNIST",
    "FashionMNISTMini",
    "ImageFolder",
    "ImageSet",
    "PublishedSet",
    "fashion_mnist_or_mini",
    "to_float",
]

#: MNIST and Fashion-MNIST have the same file names. The first 12 labels of a file show which set it is.
FIRST_LABELS = {
    "504192131435": "MNIST",
    "721041495906": "MNIST",
    "900302725509": "FashionMNIST",
    "921161465745": "FashionMNIST",
}


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 numbers 0 to 255 as float32 numbers in [0, 1]."""
    return np.divide(images, np.float32(255), dtype=np.float32)


class ImageSet(Dataset):
    """Images and labels in memory: the base class of the image data sets.

    A subclass sets ``classes``; labels must be from 0 to the number of classes minus 1.

    Parameters
    ----------
    images : uint8 array, N x C x H x W
    labels : array of int, N
    transform, target_transform : callable, optional
        Called with each image, a uint8 Tensor C x H x W, and with each label. By default an image becomes
        float32 in [0, 1]. A ``DataLoader`` calls an object of :mod:`fastconv.data.transforms` with a whole
        batch, once.

    Attributes
    ----------
    images : uint8 array, N x C x H x W
    labels : int64 array, N
    classes : tuple of str, the name of each label
    """

    classes: tuple[str, ...] = ()

    def __init__(
        self,
        images: Array,
        labels: Array,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        numbers = np.asarray(labels)
        check(
            numbers.dtype.kind in "iu" or numbers.size == 0,
            type(self).__name__,
            f"labels must be ints, got {numbers.dtype}; convert them with .astype('int64')",
            TypeError,
        )
        self.images, self.labels = images, numbers.astype(np.int64)
        for what, call in (("transform", transform), ("target_transform", target_transform)):
            fine = call is None or callable(call)
            check(fine, type(self).__name__, f"{what} must be callable, got {call!r:.60}", TypeError)
        self.transform, self.target_transform = transform, target_transform
        name, n, k = type(self).__name__, len(images), len(self.classes)
        check(
            n == len(labels), name, f"{n} images but {len(labels)} labels; the files do not belong together"
        )
        for extreme in (self.labels.min(initial=0), self.labels.max(initial=0)):
            fine = 0 <= extreme < k
            check(fine, name, f"labels must be 0 to {k - 1}, got {extreme}; the label file is damaged")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        size = shape_str(self.images.shape[1:])
        return f"{type(self).__name__}({len(self):,} images of {size}, {len(self.classes)} classes)"

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        """Image ``i`` as float32 C x H x W in [0, 1], or what ``transform`` makes of it, and its label."""
        i = operator.index(i)
        image, label = self.images[i], int(self.labels[i])
        x = to_float(image) if self.transform is None else self.transform(from_numpy(image.copy()))
        return x, label if self.target_transform is None else self.target_transform(label)

    @property
    def gathers(self) -> bool:
        """Whether a batch can be made at once: not with transforms that need single images."""
        batched = self.transform is None or (isinstance(self.transform, Transform) and self.transform.batched)
        return batched and self.target_transform is None

    def gather(self, index: Array) -> tuple[Array, Array]:
        """The images ``index`` and their labels."""
        images: Any = self.images[index]
        return (to_float(images) if self.transform is None else self.transform(images)), self.labels[index]


class PublishedSet(ImageSet):
    """A data set whose files are searched on this machine, or downloaded.

    A subclass defines the names of its files, and how they are read.

    Attributes
    ----------
    folders : tuple of str
        The usual names of its folder.
    package : str
        The Debian package that contains the data set, or "".
    """

    folders: tuple[str, ...]
    package = ""

    def __init__(
        self,
        root: PathLike | None = None,
        train: bool = True,
        download: bool = True,
        *,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        check(
            not callable(download),
            type(self).__name__,
            "the third argument is download; give transform= by its name",
            TypeError,
        )
        super().__init__(*self._read(self._locate(root, train, download), train), transform, target_transform)

    @staticmethod
    def _variants(train: bool) -> tuple[tuple[str, ...], ...]:
        """The groups of files that hold the set; the published one comes first."""
        raise NotImplementedError

    def _read(self, paths: Sequence[Path], train: bool) -> tuple[Array, Array]:
        """Images and labels."""
        raise NotImplementedError

    def _locate(self, root: PathLike | None, train: bool, fetch: bool) -> list[Path]:
        """The files of the set. If they are not available, a FileNotFoundError says what to do."""
        name, variants, roots = type(self).__name__, self._variants(train), data_folders(root)
        for folder in roots:
            if found := self._in(folder, train):
                return found
        target = roots[0] / self.folders[0]
        failures = download(name, variants[0], target) if fetch else ["not tried (download=False)"]
        if not failures:
            return [target / f for f in variants[0]]
        package = f", install the system's package (apt install {self.package})" if self.package else ""
        raise FileNotFoundError(
            f"{name}: no data files ({', '.join(variants[0])}).\n"
            f"  searched: {', '.join(map(str, roots))} and there {', '.join(self.folders)}\n"
            + "".join(f"  download: {f}\n" for f in failures)
            + f"  what to do: put the files into {target}{package}, name their folder as root= or in "
            "$FASTCONV_DATA, or try again with a network and download=True"
        )

    @classmethod
    def find(cls, folder: PathLike, train: bool = True) -> list[Path]:
        """The set's files in ``folder``, or in one of the set's usual folders there.

        Parameters
        ----------
        folder : path
        train : bool
            True: the files of the training images. False: those of the test images.

        Returns
        -------
        list of Path

        Raises
        ------
        FileNotFoundError
            The files are not there. The message says which files were expected, and what the folder contains.
        """
        path = Path(folder).expanduser()
        if found := cls._in(path, train):
            return found
        there = sorted(p.name for p in path.iterdir()) if path.is_dir() else []
        shown = ", ".join(there[:6]) + ", ..." * (len(there) > 6)
        files = " or ".join(" and ".join(names) for names in cls._variants(train))
        raise FileNotFoundError(
            f"{cls.__name__}: expected {files} in {path} or in its folder {', '.join(cls.folders)}; "
            + (f"it has {shown or 'nothing in it'}" if path.is_dir() else "it is not a folder")
        )

    @classmethod
    def _in(cls, base: Path, train: bool) -> list[Path]:
        """The set's files in ``base`` or its usual folders there, or an empty list."""
        for folder in (base / sub for sub in (*cls.folders, "")):
            for files in cls._variants(train):
                if all((folder / f).is_file() for f in files):
                    return [folder / f for f in files]
        return []


class _IdxSet(PublishedSet):
    """A set of 28 x 28 images in idx files."""

    @staticmethod
    def _variants(train: bool) -> tuple[tuple[str, ...], ...]:
        kind = "train" if train else "t10k"
        names = (f"{kind}-images-idx3-ubyte", f"{kind}-labels-idx1-ubyte")
        return tuple(n + ".gz" for n in names), names

    def _read(self, paths: Sequence[Path], train: bool) -> tuple[Array, Array]:
        images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
        name = type(self).__name__
        check(
            images.shape[1:] == (28, 28),
            name,
            f"images must be 28x28, got {shape_str(images.shape[1:])} in {paths[0]}",
        )
        owner = FIRST_LABELS.get("".join(map(str, labels[:12])))
        check(
            owner in (None, name),
            name,
            f"{paths[1]} belongs to {owner}; keep each data set in its own folder",
        )
        return images[:, None], labels


class MNIST(_IdxSet):
    """Handwritten digits: 60,000 + 10,000 grey images of 28 x 28 (LeCun et al., 1998).

    Parameters
    ----------
    root : path, optional
        The folder that is searched first, and the target of a download.
    train : bool
        True: the training images. False: the test images.
    download : bool
        Download the files if no folder has them.
    transform, target_transform : callable, optional
        As for :class:`ImageSet`.

    Raises
    ------
    FileNotFoundError
        No folder has the files, and they could not be downloaded. The message says what to do.
    ValueError
        A file is damaged, or belongs to another set.
    """

    classes = tuple("0123456789")
    folders = ("MNIST", "MNIST/raw", "mnist")


class FashionMNIST(_IdxSet):
    """Clothes: 60,000 + 10,000 grey images of 28 x 28 (Xiao, Rasul, Vollgraf, 2017).

    Parameters and errors are those of :class:`MNIST`.
    """

    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    folders = ("FashionMNIST", "FashionMNIST/raw", "fashion-mnist")
    package = "dataset-fashion-mnist"


class FashionMNISTMini(_IdxSet):
    """6,000 training and 1,000 test images of Fashion-MNIST, which are part of the package.

    Each class has the same number of images.

    Parameters
    ----------
    train : bool
        True: the training images. False: the test images.
    transform, target_transform : callable, optional
        As for :class:`ImageSet`.

    Examples
    --------
    >>> from fastconv import data
    >>> data.FashionMNISTMini(train=False)
    FashionMNISTMini(1,000 images of 1x28x28, 10 classes)
    """

    classes = FashionMNIST.classes

    def __init__(
        self,
        train: bool = True,
        *,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        files = [Path(__file__).parent / "mini" / f for f in self._variants(train)[0]]
        ImageSet.__init__(self, *self._read(files, train), transform, target_transform)


class CIFAR10(PublishedSet):
    """50,000 + 10,000 colour photographs of 32 x 32 (Krizhevsky, 2009), in the binary format.

    Parameters and errors are those of :class:`MNIST`.
    """

    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    folders = ("CIFAR10", "CIFAR10/cifar-10-batches-bin", "cifar-10-batches-bin", "cifar10", "cifar-10")

    @staticmethod
    def _variants(train: bool) -> tuple[tuple[str, ...], ...]:
        names = tuple(f"data_batch_{i}.bin" for i in range(1, 6)) if train else ("test_batch.bin",)
        return ("cifar-10-binary.tar.gz",), names

    def _read(self, paths: Sequence[Path], train: bool) -> tuple[Array, Array]:
        records = read_cifar(paths, self._variants(train)[1])
        return np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32), records[:, 0]


def fashion_mnist_or_mini(
    root: PathLike | None = None, download: bool = True
) -> tuple[ImageSet, ImageSet, str | None]:
    """Fashion-MNIST's training and test set, or, if they are not available, the subset in the package.

    Parameters
    ----------
    root, download
        As for :class:`FashionMNIST`.

    Returns
    -------
    train, test : ImageSet
    note : str or None
        A line that says why the subset is used; None for the full set.

    Raises
    ------
    ValueError
        A file is damaged; then the subset is not used.
    """
    try:
        return FashionMNIST(root, True, download), FashionMNIST(root, False, download), None
    except FileNotFoundError:
        tried = "found on this machine or downloaded" if download else "found on this machine"
        note = (
            f"Fashion-MNIST could not be {tried}: using FashionMNISTMini (6,000 of 60,000 training and "
            "1,000 of 10,000 test images), so accuracy will be lower; data.FashionMNIST() says what to do"
        )
        return FashionMNISTMini(True), FashionMNISTMini(False), note
