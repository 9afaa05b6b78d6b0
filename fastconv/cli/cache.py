"""``fastconv cache``: show or remove what fastconv keeps on disk."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from time import localtime, strftime
from typing import Any

from ..backends import disk
from .options import command


def add(commands: Any) -> None:
    """Declare the command and its two actions."""
    text = "show or remove what fastconv keeps on disk: compiled kernels, what was measured"
    parser = commands.add_parser("cache", help=text, description=text)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    command(actions, "info", info, "show the folder, and what each version's kernels take")
    command(
        actions,
        "clear",
        clear,
        "remove compiled kernels and measurements of every version (data sets stay)",
    )


def info(args: argparse.Namespace) -> int:
    """Print what is kept on disk; the folder that was used last comes first."""
    root = disk.folder()
    if root is None:
        print(
            "no folder for a cache can be written (set FASTCONV_CACHE_DIR); every process compiles its "
            "kernels anew"
        )
        return 0
    rows = disk.contents()
    print(f"{root}: {_amount(rows)}")
    for place, files, size, last in rows:
        day = strftime("%Y-%m-%d %H:%M", localtime(last))
        print(f"  {place}  {files} files, {size / 2**20:.1f} MB, last used {day}")
    print(
        f"Folders not used for {disk.OLD // disk.DAY} days go by themselves; fastconv cache clear removes all"
    )
    return 0


def clear(args: argparse.Namespace) -> int:
    """Remove compiled kernels and measurements; they are made again when they are needed."""
    print(f"{disk.folder() or 'no cache folder'}: {_amount(disk.clear())} removed")
    return 0


def _amount(rows: Sequence[Sequence[Any]]) -> str:
    return f"{sum(row[1] for row in rows)} files, {sum(row[2] for row in rows) / 2**20:.1f} MB"
