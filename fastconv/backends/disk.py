"""Files that engines keep from one run to the next: compiled kernels and measurements.

A compiled kernel is machine code: whoever can write its file can run anything as the user who reads it,
whatever the format and the checksum. So only the user may write here. Folders that are made here have mode
0700, are no links and belong to the user. The files that are read have mode 0600 and belong to the user too.
A folder of another user is not used; somebody may have put one in the temporary directory.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from .settings import environment

STORES = ("kernels", "cuda")  # what engines keep, a folder each
KEPT, DAY, OLD = 10, 24 * 3600, 30 * 24 * 3600  # folders of other versions, seconds
_KEY = re.compile(r"\.?[0-9a-f]{16}(\.\d+)?")  # what such a folder is called, and while it is removed
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class _NotOurs(OSError):
    """A folder that another user could have written in."""


def user_id() -> int | None:
    """The number of this user; None on Windows, where files have no such owner."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def user_cache() -> Path | None:
    """The user's folder for caches; None for a user without a home."""
    named = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    folder = os.path.expanduser(named or "~/.cache")
    return None if folder.startswith("~") else Path(folder)


def roots() -> Iterator[tuple[Path, bool]]:
    """Folders that may hold the stores, the best first, and whether the user named them."""
    if given := environment("FASTCONV_CACHE_DIR"):
        named = os.path.expanduser(given)
        if named.startswith("~"):
            warn(f"FASTCONV_CACHE_DIR={given} names a home that is not known", "another folder is used")
        else:
            yield Path(named).absolute(), True
    if cache := user_cache():
        yield cache / "fastconv", False
    with contextlib.suppress(OSError):  # no temporary directory
        user = user_id()
        yield Path(tempfile.gettempdir()) / ("fastconv" if user is None else f"fastconv-{user}"), False


def _check_outer(folder: Path) -> None:
    """Raise if others than this user and the administrator may replace files in ``folder``, maybe a link."""
    info, user = folder.stat(), user_id()
    if user is None:
        return
    if info.st_uid not in (user, 0):
        raise _NotOurs(f"{folder} belongs to another user, who could put code there")
    open_to_others = info.st_mode & (stat.S_IWOTH if info.st_uid == user else _WRITABLE_BY_OTHERS)
    # sticky, as /tmp is: only the owner of a file may replace it
    if open_to_others and not info.st_mode & stat.S_ISVTX:
        raise _NotOurs(f"{folder} can be written by other users, who could put code there")


def _make_own(folder: Path) -> None:
    """Make a folder that only this user can write in, or check that an existing one is."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if (user := user_id()) is None:
        return
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise _NotOurs(f"{folder} is a link")
    if info.st_uid != user:
        raise _NotOurs(f"{folder} belongs to another user, who could put code there")
    if info.st_mode & _WRITABLE_BY_OTHERS:
        folder.chmod(0o700)
        if folder.lstat().st_mode & _WRITABLE_BY_OTHERS:  # a file system without modes
            raise _NotOurs(f"{folder} can be written by other users, who could put code there")


def _place(root: Path, given: bool, parts: tuple[str, ...]) -> Path:
    """The folder ``parts`` below ``root``, made where needed; OSError where it cannot be used."""
    outer, own = (root, parts) if given else (root.parent, (root.name, *parts))
    outer.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_outer(outer)
    for part in own:
        outer = outer / part
        _make_own(outer)
    with tempfile.TemporaryFile(dir=outer):
        return outer


def folder(*parts: str) -> Path | None:
    """A folder below ``FASTCONV_CACHE_DIR``, the user's cache or a temporary one; None if none can be used.

    A warning, once, says which folder is not used although the user named it, or because another user could
    write in it.
    """
    refused = None
    for root, given in roots():
        try:
            found = _place(root, given, parts)
        except OSError as e:
            if given or isinstance(e, _NotOurs):
                refused = refused or e
            continue
        if refused:
            warn(str(refused), f"{root} is used instead")
        return found
    if refused:
        warn(str(refused), "no other folder can be used, so every process compiles its kernels anew")
    return None


@functools.cache
def warn(why: str, instead: str) -> None:
    warnings.warn(
        f"kernel cache: {why}; {instead}. FASTCONV_CACHE_DIR names a folder of your own", stacklevel=3
    )


def read(path: Path | None) -> bytes:
    """The bytes of a file that only this user can have written; empty if there is none."""
    try:
        handle = os.open(path or "", os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as f:
            info, user = os.fstat(handle), user_id()
            ours = user is None or info.st_uid == user and not info.st_mode & _WRITABLE_BY_OTHERS
            return f.read() if ours else b""
    except OSError:
        return b""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that other processes see all of it or nothing."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
        os.replace(temporary, path)
    except BaseException:  # a full disk, Ctrl-C
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


class Measurements:
    """What was measured on this machine, by key: a JSON file that processes share.

    Parameters
    ----------
    path : Path or None
        The file; None where no folder can be used, and then nothing is kept.
    known : dict, optional
        Values that count until others are measured.
    """

    def __init__(self, path: Path | None, known: dict[str, Any] | None = None):
        self.path, self.known = path, known or {}
        self.values = self._stored()

    def _stored(self) -> dict[str, Any]:
        try:
            found: Any = json.loads(read(self.path))
        except ValueError:  # no file yet, or a damaged one
            return {}
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    def get(self, key: str, valid: Callable[[Any], bool], measure: Callable[[], Any]) -> Any:
        """The value of ``key``; measured and kept where there is none, or none that is ``valid``."""
        value = self.values.get(key, self.known.get(key))
        if not valid(value):
            value = measure()
            self.values = {**self._stored(), **self.values, key: value}  # another process may have added some
            if self.path is not None:
                with contextlib.suppress(OSError):  # a full or vanished disk: measured again next time
                    write_atomically(self.path, json.dumps(self.values, indent=0).encode())
        return value


# ------------------------------------------------------------------------------------------- compiled kernels
def key(engine: str, *parts: object) -> str:
    """Hash of what an engine's compiled code depends on beside a kernel: its sources, Python, and ``parts``.

    Python counts because Numba compiles the bytecode that it makes of the sources, and because compiled
    kernels call functions of its C interface. Its cache tag (``cpython-311``) changes with either.
    """
    h, backends = hashlib.sha256(), Path(__file__).parent
    parts = (*parts, sys.implementation.cache_tag, sysconfig.get_config_var("Py_GIL_DISABLED"))
    for below in (engine, "common"):
        for path in sorted(backends.joinpath(below).rglob("*.py")):
            h.update(path.relative_to(backends).as_posix().encode() + path.read_bytes())
    for part in parts:
        h.update(repr(part).encode() + b"\0")
    return h.hexdigest()[:16]


def kernels(store: str, key: str) -> Path | None:
    """The folder in a store for code of this key, noted as used; None if none can be used."""
    found = folder(store, key)
    if found is not None:
        used(found)
    return found


@functools.cache  # once per process, and only in one that compiles
def prune_once(current: Path) -> None:
    """:func:`prune`, the first time."""
    prune(current)


# --------------------------------------------------------------------------------------------- old folders
def used(folder: Path) -> None:
    """Note that a folder is in use now; :func:`prune` reads its time."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def prune(current: Path) -> None:
    """Remove folders beside ``current`` that are old: of other versions, kernels or processors.

    These are the folders not used for 30 days. Except for the ten used last, they are also those not used for
    a day. A process that still uses one goes on: it compiles what it does not find.
    """
    others = [p for p in folders(current.parent) if p != current and _KEY.fullmatch(p.name)]
    for i, (idle, place) in enumerate(sorted((age(p), p) for p in others)):
        if idle > OLD or (i >= KEPT and idle > DAY):
            _remove(place)
    for torn in current.glob("*.tmp"):  # of a process killed while it wrote
        if age(torn) > DAY:
            with contextlib.suppress(OSError):
                torn.unlink()


def age(path: Path) -> float:
    """Seconds since a folder or file was written; 0 where another process has removed it."""
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def folders(parent: Path) -> list[Path]:
    """The folders in ``parent``; none where another process has removed it."""
    try:
        return [Path(e) for e in os.scandir(parent) if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _remove(place: Path) -> None:
    """Remove a folder. It is renamed first, so that no process finds half of it."""
    going = place.with_name(f".{place.name.strip('.')}.{os.getpid()}")
    with contextlib.suppress(OSError):
        place.rename(going)
        shutil.rmtree(going, ignore_errors=True)


def contents() -> list[tuple[Path, int, int, float]]:
    """What the stores hold: ``(folder, files, bytes, time of last use)``, the one used last first."""
    found: list[tuple[Path, int, int, float]] = []
    for parent in filter(None, map(folder, STORES)):
        for place in folders(parent):
            with contextlib.suppress(OSError):  # another process removes it
                sizes = [e.stat().st_size for e in os.scandir(place) if e.is_file(follow_symlinks=False)]
                found.append((place, len(sizes), sum(sizes), place.lstat().st_mtime))
    return sorted(found, key=lambda row: -row[3])


def clear() -> list[tuple[Path, int, int, float]]:
    """Remove what the stores hold, and nothing else; returns the :func:`contents` before."""
    removed = contents()
    for place, *_ in removed:
        _remove(place)
    return removed
