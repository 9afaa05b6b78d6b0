"""Files of image data sets: where they are searched, and how they are read and checked."""

# NumPy declares some methods, such as reshape, without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
import gzip
import os
import tarfile
import zlib
from collections.abc import Generator, Sequence
from math import prod
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from ..backends.disk import user_cache
from ..checks import shape_str
from ..typing import Array, PathLike

SYSTEM_FOLDERS = ("/usr/share/datasets",)
CIFAR_RECORDS, CIFAR_RECORD = 10_000, 1 + 3 * 32 * 32  # images per file; bytes per image, its label first


def data_folders(root: PathLike | None = None) -> list[Path]:
    """The folders that are searched for data, in order; downloads are written to the first."""
    given = [p for p in (root, os.environ.get("FASTCONV_DATA")) if p]
    cache = user_cache()  # None if the user has no home
    own = [cache / "fastconv" / "data"] if cache else []
    return [Path(os.path.expanduser(p)) for p in (*given, *own, *SYSTEM_FOLDERS)]


def _expect(path: Path, ok: bool, expected: str, got: object) -> None:
    if not ok:
        raise ValueError(
            f"{path}: expected {expected}, got {got}; the file is damaged: delete it to get a fresh copy"
        )


@contextlib.contextmanager
def _decoding(path: Path) -> Generator[None, None, None]:
    """Turn errors of gzip and tar into a ValueError that names the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as e:
        _expect(path, False, "a complete gzip file", e)


def _exactly(path: Path, f: IO[bytes], n: int, what: str) -> bytearray:
    """The rest of ``f``, which must be ``n`` bytes."""
    data = bytearray(f.read())  # read to the end, because gzip verifies its checksum there
    _expect(path, len(data) == n, f"{n} bytes of {what}", len(data))
    return data


def read_idx(path: PathLike, ndim: int) -> Array:
    """Read an idx file (plain or ``.gz``) as a uint8 array with ``ndim`` dimensions.

    Raises a ValueError if the file has another format or is incomplete.
    """
    path, size, magic = Path(path), 4 + 4 * ndim, bytes((0, 0, 8, ndim))  # 8: unsigned bytes
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with _decoding(path), opened(path, "rb") as f:
        head = f.read(size)
        _expect(
            path,
            head[:4] == magic,
            f"idx magic {magic.hex()} (uint8, rank {ndim})",
            head[:4].hex() or "nothing",
        )
        _expect(path, len(head) == size, f"a header of {size} bytes", len(head))
        shape: tuple[int, ...] = tuple(np.frombuffer(head, ">u4", offset=4).tolist())
        data = _exactly(path, f, prod(shape), f"data ({shape_str(shape)})")
        numbers: Array = np.frombuffer(data, np.uint8)
        return numbers.reshape(shape)


def read_cifar(paths: Sequence[Path], names: Sequence[str]) -> Array:
    """The records of CIFAR-10's binary files ``names``, a uint8 array (records, 3073); a label comes first.

    ``paths`` are these files, or the one archive that contains them.
    """
    size = CIFAR_RECORDS * CIFAR_RECORD
    blobs: dict[str, bytearray] = {}
    if paths[0].suffix == ".gz":
        with _decoding(paths[0]), tarfile.open(paths[0], "r:gz") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in names and (f := tar.extractfile(member)) is not None:
                    blobs[name] = _exactly(paths[0], f, size, name)
        missing = ", ".join(n for n in names if n not in blobs)
        _expect(paths[0], not missing, f"an archive with {', '.join(names)}", f"one without {missing}")
    else:
        for path in paths:
            with open(path, "rb") as f:
                blobs[path.name] = _exactly(path, f, size, f"data ({CIFAR_RECORDS} images)")
    return np.concatenate([np.frombuffer(blobs[n], np.uint8).reshape(-1, CIFAR_RECORD) for n in names])
