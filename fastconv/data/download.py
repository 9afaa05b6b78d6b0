"""Downloads of the published data sets: mirrors, checksums, and partial downloads that are continued."""

# Other packages declare no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from pathlib import Path
from typing import Any

#: Addresses where each data set is published; they are tried in this order.
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
#: SHA-256 of the published files. They are checked only after a download. Local files are checked by their
#: structure, because the files in a package of a Linux distribution are compressed again and differ.
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
OFFLINE_SECONDS = 8.0  # time for an answer, of all mirrors together
STALL_SECONDS = 15.0  # longest time without data during a download


def _open(url: str, offset: int, seconds: float) -> Any:
    """The response to a GET request from byte ``offset`` on; a TimeoutError after ``seconds``.

    The request runs in a thread of its own. The lookup of a host name has no time limit, and a machine
    without a network must not wait for it.
    """
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    future: Future[Any] = Future()

    def get() -> None:
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
    if answer.status_code != 416:  # 416: the file has no bytes after the offset, so the part may be complete
        answer.raise_for_status()
    return answer


def _fetch(url: str, output: Any, pooch: Any, *, file: Path, seconds: float) -> None:
    """A downloader for pooch: writes the contents of ``url`` to the path ``output``.

    It continues ``<file>.part`` if that exists. If it is interrupted, it keeps the received data there.
    """
    from tqdm.auto import tqdm

    part, mine = Path(f"{file}.part"), Path(f"{file}.{os.getpid()}-{threading.get_ident()}.part")
    for left in file.parent.glob(f"{file.name}*.part"):
        # A part that was written to recently belongs to a running process. To use an older part, this
        # process renames it, because only one process can succeed in that.
        with contextlib.suppress(FileNotFoundError):
            if left == part or time.time() - left.stat().st_mtime > 2 * STALL_SECONDS:
                left.replace(mine)
                break
    try:
        with open(mine, "ab") as f, _open(url, f.tell(), seconds) as answer:
            if answer.status_code == 200:  # the server sends the whole file, not only the rest
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


def download(name: str, files: Sequence[str], folder: Path) -> list[str]:
    """Download ``files`` of the data set ``name`` into ``folder``.

    Returns the reasons of a failure, one line for each mirror, or an empty list after success. A file gets
    its name only if its SHA-256 is right. A wrong file is removed, and the next mirror is tried.
    """
    try:
        import pooch  # type: ignore[import-untyped]
        import tqdm  # noqa: F401  # pyright: ignore[reportUnusedImport] - _fetch needs it
    except ModuleNotFoundError as e:
        return [f'{e.name} is not installed: pip install "fastconv[train]"']
    seconds = OFFLINE_SECONDS / len(MIRRORS[name])
    for file in files:
        failures: list[str] = []
        todo, resumed = list(MIRRORS[name]), any(folder.glob(f"{file}*.part"))
        get: Any = partial(_fetch, file=folder / file, seconds=seconds)
        while todo:
            mirror = todo.pop(0)
            try:
                pooch.retrieve(mirror + file, f"sha256:{SHA256[name][file]}", file, folder, downloader=get)
                break
            except (OSError, ValueError) as e:  # OSError: network or disk; ValueError: a wrong hash
                failures.append(f"{mirror}: {str(e) or type(e).__name__}")
                broken = isinstance(e, OSError)
                if resumed and not broken:  # the old part may have been wrong: try again from the start
                    todo.insert(0, mirror)
                resumed = broken
        else:
            return failures
    return []
