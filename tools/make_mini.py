"""Draw FashionMNISTMini from the full Fashion-MNIST: python tools/make_mini.py FOLDER_WITH_THE_FOUR_FILES."""

import gzip
import sys
from pathlib import Path

import numpy as np

from fastconv.data.files import read_idx

SEED = 2017
PER_CLASS = {"train": 600, "t10k": 100}
OUT = Path(__file__).resolve().parents[1] / "fastconv" / "data" / "mini"


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write uint8 as idx.gz, without name and time in the gzip header: the same input gives the same file."""
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes(), 9, mtime=0))


def main(source: Path) -> None:
    rng = np.random.default_rng(SEED)
    for kind, count in PER_CLASS.items():
        images = read_idx(source / f"{kind}-images-idx3-ubyte.gz", 3)
        labels = read_idx(source / f"{kind}-labels-idx1-ubyte.gz", 1)
        picks = [rng.choice(np.flatnonzero(labels == c), count, replace=False) for c in range(10)]
        keep = np.sort(np.concatenate(picks))  # the original order, in which classes are mixed
        write_idx(OUT / f"{kind}-images-idx3-ubyte.gz", images[keep])
        write_idx(OUT / f"{kind}-labels-idx1-ubyte.gz", labels[keep])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
