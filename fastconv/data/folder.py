"""Data sets of files in folders, one folder per class."""

# Items and transforms are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..checks import check
from ..typing import PathLike
from .dataset import Dataset
from .transforms.images import pillow

#: The endings of the files that ImageFolder reads.
IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def default_loader(path: PathLike) -> Any:
    """Read an image file as a Pillow image in mode RGB.

    Raises
    ------
    ImportError
        Pillow is not installed; the message says how to install it.
    ValueError
        The file is not an image, or it is damaged.
    """
    module = pillow("ImageFolder")
    with open(path, "rb") as f:
        try:
            return module.open(f).convert("RGB")
        except (OSError, SyntaxError, ValueError) as e:  # what Pillow raises on damaged files
            raise ValueError(f"ImageFolder: {os.fspath(path)} cannot be read as an image: {e}") from e


class DatasetFolder(Dataset):
    """Examples in files, with one folder per class: ``root/CLASS/.../file``.

    Classes and files are sorted by their names. Subfolders of the folder of a class are searched too.

    Parameters
    ----------
    root : path
    loader : callable
        ``path -> sample``.
    extensions : tuple of str, optional
        The endings of the files that are used, such as ``".png"``; upper and lower case are the same. Give
        either this or ``is_valid_file``.
    transform, target_transform : callable, optional
        Called with each sample, and with each class number.
    is_valid_file : callable, optional
        ``path -> bool``: whether a file is used.
    allow_empty : bool
        Accept classes without files.

    Attributes
    ----------
    classes : list of str
    class_to_idx : dict
        The number of each class.
    samples : list of (path, class number)
    targets : list of int

    Raises
    ------
    FileNotFoundError
        The folder does not exist, it contains no folders of classes, or a class has no files.
    ValueError
        Both or none of ``extensions`` and ``is_valid_file`` are given.
    TypeError
        ``loader`` or another function is not callable.
    """

    def __init__(
        self,
        root: PathLike,
        loader: Callable[[str], Any],
        extensions: tuple[str, ...] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        name = type(self).__name__
        calls = {
            "loader": loader,
            "transform": transform,
            "target_transform": target_transform,
            "is_valid_file": is_valid_file,
        }
        for what, call in calls.items():
            optional = what != "loader" and call is None
            check(optional or callable(call), name, f"{what} must be callable, got {call!r:.60}", TypeError)
        check(
            (extensions is None) != (is_valid_file is None),
            name,
            "expected either extensions or is_valid_file, got "
            + ("neither" if extensions is None else "both"),
        )
        self.root = os.path.expanduser(os.fspath(root))
        self.loader, self.extensions, self.allow_empty = loader, extensions, allow_empty
        self.transform, self.target_transform = transform, target_transform
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self._valid = is_valid_file or self._ends_right
        self.samples = [
            (path, i)
            for c, i in sorted(self.class_to_idx.items())
            for path in self._files(os.path.join(self.root, c))
        ]
        self.targets = [target for _, target in self.samples]
        full = set(self.targets)
        empty = [c for c, i in self.class_to_idx.items() if i not in full]
        if empty and not allow_empty:
            wanted = f" with the endings {', '.join(extensions)}" if extensions else ""
            raise FileNotFoundError(
                f"{name}: found no files{wanted} for {', '.join(sorted(empty)[:6])} in {self.root}; "
                "remove these folders, or give allow_empty=True"
            )

    def find_classes(self, directory: PathLike) -> tuple[list[str], dict[str, int]]:
        """The sorted names of the classes, and a dict from name to number; a subclass may override this."""
        name, path = type(self).__name__, Path(directory)
        if not path.is_dir():
            raise FileNotFoundError(f"{name}: {path} is not a folder; root has one folder for each class")
        classes = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
        if not classes:
            raise FileNotFoundError(f"{name}: {path} has no folders; expected one for each class")
        return classes, {c: i for i, c in enumerate(classes)}

    def _ends_right(self, path: str) -> bool:
        return path.lower().endswith(tuple(e.lower() for e in self.extensions or ()))

    def _files(self, folder: str) -> list[str]:
        """The files of a class, folder by folder; folders and the files in each are sorted."""
        if not os.path.isdir(folder):
            return []
        found: list[str] = []
        for base, _, files in sorted(os.walk(folder, followlinks=True)):
            found += [path for f in sorted(files) if self._valid(path := os.path.join(base, f))]
        return found

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Sample ``index`` and its class number, after ``transform`` and ``target_transform``."""
        path, target = self.samples[index]
        sample = self.loader(path)
        if self.transform is not None:
            sample = self.transform(sample)
        return sample, target if self.target_transform is None else self.target_transform(target)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} files of {len(self.classes)} classes in {self.root})"


class ImageFolder(DatasetFolder):
    """Images in files, with one folder per class: ``root/CLASS/.../image.png``.

    Each item is a Pillow image in mode RGB and its class number, so ``transform`` usually contains
    ``transforms.ToTensor()``. Pillow is an optional dependency: ``pip install "fastconv[images]"``.

    Parameters
    ----------
    root : path
    transform, target_transform : callable, optional
        Called with each image, and with each class number.
    loader : callable
        ``path -> image``.
    is_valid_file : callable, optional
        ``path -> bool``: whether a file is used; by default, whether its ending is one of ``IMG_EXTENSIONS``.
    allow_empty : bool
        Accept classes without images.

    Attributes
    ----------
    classes : list of str
    class_to_idx : dict
    samples, imgs : list of (path, class number)
    targets : list of int

    Raises
    ------
    FileNotFoundError
        The folder does not exist, it contains no folders of classes, or a class has no images.
    ImportError
        Raised when the first item is read: Pillow is not installed.
    """

    def __init__(
        self,
        root: PathLike,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        extensions = IMG_EXTENSIONS if is_valid_file is None else None
        super().__init__(root, loader, extensions, transform, target_transform, is_valid_file, allow_empty)
        self.imgs = self.samples
