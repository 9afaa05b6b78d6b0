"""Image data sets in their original file formats: found on this machine, or downloaded once.

A set is looked for in ``root``, ``$FASTCONV_DATA``, the user's cache and ``/usr/share/datasets``, each time
in a subfolder named after the set, then in the folder itself; failing that, it is downloaded into the first
of those.
"""

from __future__ import annotations

import contextlib
import gzip
import operator
import os
import tarfile
import threading
import time
import zlib
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from math import prod
from pathlib import Path, PurePosixPath

import numpy as np

from ..backends.disk import user_cache
from ..checks import check, shape_str
from ..typing import Array, PathLike

#: Where each set is published; tried in this order.
MIRRORS: dict[str, tuple[str, ...]] = {
    "FashionMNIST": (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    "MNIST": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "CIFAR10": ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"),
}
#: SHA-256 of the published files. A distribution's repacked copies differ, so local files are checked by
#: structure.
SHA256: dict[str, dict[str, str]] = {
    "FashionMNIST": {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    "MNIST": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "CIFAR10": {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
}
SYSTEM_FOLDERS = ("/usr/share/datasets",)
OFFLINE_SECONDS = 8.0  # all mirrors together have this long to answer
STALL_SECONDS = 15.0  # longest silence in the middle of a download
CIFAR_RECORDS, CIFAR_RECORD = 10_000, 1 + 3 * 32 * 32  # images per file; bytes per image, its label first
#: MNIST and Fashion-MNIST share their file names: the first labels of the originals tell whose a file is.
FIRST_LABELS = {
    "504192131435": "MNIST",
    "721041495906": "MNIST",
    "900302725509": "FashionMNIST",
    "921161465745": "FashionMNIST",
}


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 as float32 in [0, 1]."""
    return np.divide(images, np.float32(255), dtype=np.float32)


def data_folders(root=None) -> list[Path]:
    """Folders searched for data, in order; downloads go to the first."""
    given = [p for p in (root, os.environ.get("FASTCONV_DATA")) if p]
    cache = user_cache()  # None for a user without a home
    own = [cache / "fastconv" / "data"] if cache else []
    return [Path(os.path.expanduser(p)) for p in (*given, *own, *SYSTEM_FOLDERS)]


# ------------------------------------------------------------------------------------------------- files
def _expect(path, ok, expected, got) -> None:
    if not ok:
        raise ValueError(
            f"{path}: expected {expected}, got {got}; the file is damaged: delete it to get a fresh copy"
        )


@contextlib.contextmanager
def _decoding(path):
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as e:
        _expect(path, False, "a complete gzip file", e)


def _exactly(path, f, n: int, what) -> bytearray:
    data = bytearray(f.read())  # to the end, where gzip verifies its checksum
    _expect(path, len(data) == n, f"{n} bytes of {what}", len(data))
    return data


def read_idx(path, ndim: int) -> np.ndarray:
    """Read an idx file (plain or ``.gz``) of uint8 with ``ndim`` dimensions; ValueError if it is not one, or
    torn."""
    path, size, magic = Path(path), 4 + 4 * ndim, bytes((0, 0, 8, ndim))  # 8: unsigned bytes
    with _decoding(path), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as f:
        head = f.read(size)
        _expect(
            path,
            head[:4] == magic,
            f"idx magic {magic.hex()} (uint8, rank {ndim})",
            head[:4].hex() or "nothing",
        )
        _expect(path, len(head) == size, f"a header of {size} bytes", len(head))
        shape = np.frombuffer(head, ">u4", offset=4).tolist()
        return np.frombuffer(_exactly(path, f, prod(shape), f"data ({shape_str(shape)})"), np.uint8).reshape(
            shape
        )


def _read_cifar(paths, names) -> np.ndarray:
    """Records of CIFAR-10's binary files, out of their folder or straight out of the tar."""
    size, blobs = CIFAR_RECORDS * CIFAR_RECORD, {}
    if paths[0].suffix == ".gz":
        with _decoding(paths[0]), tarfile.open(paths[0], "r:gz") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in names:
                    blobs[name] = _exactly(paths[0], tar.extractfile(member), size, name)
        missing = ", ".join(n for n in names if n not in blobs)
        _expect(paths[0], not missing, f"an archive with {', '.join(names)}", f"one without {missing}")
    else:
        for path in paths:
            with open(path, "rb") as f:
                blobs[path.name] = _exactly(path, f, size, f"data ({CIFAR_RECORDS} images)")
    return np.concatenate([np.frombuffer(blobs[n], np.uint8).reshape(-1, CIFAR_RECORD) for n in names])


# ------------------------------------------------------------------------------------------------- download
def _open(url: str, offset: int, seconds: float):
    """The answer to a GET from byte ``offset`` on; TimeoutError after ``seconds``.

    In a thread of its own: looking a name up knows no time limit, and being offline must not hang.
    """
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    future: Future = Future()

    def get():
        try:
            future.set_result(
                requests.get(url, stream=True, headers=headers, timeout=(seconds, STALL_SECONDS))
            )
        except Exception as e:
            future.set_exception(e)

    threading.Thread(target=get, daemon=True).start()
    try:
        answer = future.result(seconds)
    except FutureTimeout:
        raise TimeoutError(f"no answer within {seconds:.1f} s") from None
    if answer.status_code != 416:  # 416: nothing beyond the offset, so the part is whole; its hash will tell
        answer.raise_for_status()
    return answer


def _fetch(url: str, output, pooch, *, file: Path, seconds: float) -> None:
    """A pooch downloader: ``url`` to ``output``, continuing ``<file>.part`` and leaving one if
    interrupted."""
    from tqdm.auto import tqdm

    part, mine = Path(f"{file}.part"), Path(f"{file}.{os.getpid()}-{threading.get_ident()}.part")
    for left in file.parent.glob(f"{file.name}*.part"):
        # A part written to lately belongs to a running process. Taking one over is a rename: only one process
        # can.
        with contextlib.suppress(FileNotFoundError):
            if left == part or time.time() - left.stat().st_mtime > 2 * STALL_SECONDS:
                left.replace(mine)
                break
    try:
        with open(mine, "ab") as f, _open(url, f.tell(), seconds) as answer:
            if answer.status_code == 200:  # the whole file, whatever was asked for
                f.seek(0)
                f.truncate()
            if answer.status_code != 416:
                total = f.tell() + int(answer.headers.get("Content-Length", 0))
                with tqdm(desc=file.name, total=total, initial=f.tell(), unit="B", unit_scale=True) as bar:
                    for chunk in answer.iter_content(1 << 14):
                        bar.update(f.write(chunk))
                if f.tell() < total:
                    raise ConnectionError(f"connection closed after {f.tell()} of {total} bytes")
        mine.replace(output)
    finally:
        if mine.exists():
            mine.replace(part) if mine.stat().st_size else mine.unlink()


def download(name: str, files, folder: Path) -> list[str]:
    """Fetch ``files`` of the set ``name`` into ``folder``; returns why it failed, mirror by mirror (empty:
    done).

    A file appears under its name only once its SHA-256 is right; a wrong one is removed and the next mirror
    tried.
    """
    try:
        import pooch
        import tqdm  # noqa: F401 - _fetch needs it
    except ModuleNotFoundError as e:
        return [f'{e.name} is not installed: pip install "fastconv[train]"']
    seconds = OFFLINE_SECONDS / len(MIRRORS[name])
    for file in files:
        failures, todo, resumed = [], list(MIRRORS[name]), any(folder.glob(f"{file}*.part"))
        get = partial(_fetch, file=folder / file, seconds=seconds)
        while todo:
            mirror = todo.pop(0)
            try:
                pooch.retrieve(mirror + file, f"sha256:{SHA256[name][file]}", file, folder, downloader=get)
                break
            except (OSError, ValueError) as e:  # network or disk; a wrong hash
                failures.append(f"{mirror}: {str(e) or type(e).__name__}")
                broken = isinstance(e, OSError)
                if resumed and not broken:  # the part it continued may be to blame: once more from the start
                    todo.insert(0, mirror)
                resumed = broken
        else:
            return failures
    return []


# ------------------------------------------------------------------------------------------------- data sets
class ImageSet:
    """Images and labels in memory.

    Attributes
    ----------
    images : uint8 array, N x C x H x W
    labels : int64 array, N
    classes : tuple of str, the name of each label
    """

    classes: tuple[str, ...] = ()

    def __init__(self, images: Array, labels: Array) -> None:
        self.images, self.labels = images, labels.astype(np.int64)
        name, n, k, top = type(self).__name__, len(images), len(self.classes), labels.max(initial=0)
        check(
            n == len(labels), name, f"{n} images but {len(labels)} labels; the files do not belong together"
        )
        check(top < k, name, f"labels must be 0 to {k - 1}, got {top}; the label file is damaged")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        size = shape_str(self.images.shape[1:])
        return f"{type(self).__name__}({len(self):,} images of {size}, {len(self.classes)} classes)"

    def __getitem__(self, i: int) -> tuple[Array, int]:
        """Image ``i`` as float32 C x H x W in [0, 1], and its label."""
        i = operator.index(i)
        return to_float(self.images[i]), int(self.labels[i])


class _Published(ImageSet):
    """A set with files to find. ``folders``: its usual folder names; ``package``: the system's package of it;
    ``_variants(train)``: the sets of files that will do, the published one first; ``_read``: images and
    labels."""

    folders: tuple[str, ...]
    package = ""

    def __init__(self, root: PathLike | None = None, train: bool = True, download: bool = True) -> None:
        super().__init__(*self._read(self._locate(root, train, download), train))

    def _locate(self, root, train: bool, fetch: bool) -> list[Path]:
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
            + f"  what to do: put the files into {target}{package}, name their folder as root= or in $FASTCONV_DATA, "
            "or try again with a network and download=True"
        )

    @classmethod
    def find(cls, folder: PathLike, train: bool = True) -> list[Path]:
        """The set's files in ``folder``, or in one of the set's usual folders there.

        Parameters
        ----------
        folder : path
        train : bool
            The files of the training images, else those of the test images.

        Raises
        ------
        FileNotFoundError
            They are not there; the message says which files were expected, and what there is.
        """
        path = Path(folder).expanduser()
        if found := cls._in(path, train):
            return found
        there = sorted(p.name for p in path.iterdir()) if path.is_dir() else []
        shown = ", ".join(there[:6]) + ", ..." * (len(there) > 6)
        files = " or ".join(" and ".join(names) for names in cls._variants(train))
        raise FileNotFoundError(
            f"{cls.__name__}: expected {files} in {path} or in its folder {', '.join(cls.folders)}; "
            + (f"it has {shown or 'nothing in it'}" if path.is_dir() else "it is no folder")
        )

    @classmethod
    def _in(cls, base: Path, train: bool) -> list[Path]:
        for folder in (base / sub for sub in (*cls.folders, "")):
            for files in cls._variants(train):
                if all((folder / f).is_file() for f in files):
                    return [folder / f for f in files]
        return []


class _IdxSet(_Published):
    @staticmethod
    def _variants(train):
        kind = "train" if train else "t10k"
        names = (f"{kind}-images-idx3-ubyte", f"{kind}-labels-idx1-ubyte")
        return tuple(n + ".gz" for n in names), names

    def _read(self, paths, train):
        images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
        name = type(self).__name__
        check(
            images.shape[1:] == (28, 28),
            name,
            f"images must be 28x28, got {shape_str(images.shape[1:])} in {paths[0]}",
        )
        owner = FIRST_LABELS.get("".join(map(str, labels[:12])))
        check(
            owner in (None, name), name, f"{paths[1]} belongs to {owner}; give each set a folder of its name"
        )
        return images[:, None], labels


class MNIST(_IdxSet):
    """Handwritten digits: 60,000 + 10,000 grey images of 28 x 28 (LeCun et al., 1998).

    Parameters
    ----------
    root : path, optional
        Folder searched first, and the target of a download.
    train : bool
        The training images, else the test images.
    download : bool
        Fetch the files if no folder has them (FileNotFoundError if that fails; ValueError for a damaged
        file).
    """

    classes = tuple("0123456789")
    folders = ("MNIST", "MNIST/raw", "mnist")


class FashionMNIST(_IdxSet):
    """Clothes: 60,000 + 10,000 grey images of 28 x 28 (Xiao, Rasul, Vollgraf, 2017). Parameters as
    :class:`MNIST`."""

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
    """6,000 + 1,000 images of Fashion-MNIST, equally many of each class, shipped with fastconv."""

    classes = FashionMNIST.classes

    def __init__(self, train: bool = True) -> None:
        folder = Path(__file__).parent / "mini"
        ImageSet.__init__(self, *self._read([folder / f for f in self._variants(train)[0]], train))


class CIFAR10(_Published):
    """50,000 + 10,000 colour photographs of 32 x 32 (Krizhevsky, 2009), binary form. Parameters as
    :class:`MNIST`."""

    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    folders = ("CIFAR10", "CIFAR10/cifar-10-batches-bin", "cifar-10-batches-bin", "cifar10", "cifar-10")

    @staticmethod
    def _variants(train):
        names = tuple(f"data_batch_{i}.bin" for i in range(1, 6)) if train else ("test_batch.bin",)
        return ("cifar-10-binary.tar.gz",), names

    def _read(self, paths, train):
        records = _read_cifar(paths, self._variants(train)[1])
        return np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32), records[:, 0]


def fashion_mnist_or_mini(
    root: PathLike | None = None, download: bool = True
) -> tuple[ImageSet, ImageSet, str | None]:
    """Fashion-MNIST's training and test set, or else the shipped subset and a line that says so.

    Returns ``(train, test, note)``, note None for the full set. A damaged file is an error, no reason to fall
    back.
    """
    try:
        return FashionMNIST(root, True, download), FashionMNIST(root, False, download), None
    except FileNotFoundError:
        tried = "found on this machine or downloaded" if download else "found on this machine"
        note = (
            f"Fashion-MNIST could not be {tried}: using FashionMNISTMini (6,000 of 60,000 training and 1,000 of "
            "10,000 test images), so accuracy will be lower; data.FashionMNIST() says what to do"
        )
        return FashionMNISTMini(True), FashionMNISTMini(False), note
