"""Kernels made by hand: vertical edges of simple images, edges and blur of a photograph.

``python examples/edge_detection.py [--image FILE] [--out DIR]``
"""

import numpy as np
import pictures

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F

LAPLACIAN = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], np.float32) / 8


def correlate(image, kernel) -> np.ndarray:
    """A kernel moved over an ``H x W`` image."""
    x, k = (fc.tensor(a, dtype=fc.float32).reshape(1, 1, *np.shape(a)) for a in (image, kernel))
    return F.conv2d(x, k).numpy()[0, 0]


def bar(height: int, width: int, start: int, stop: int) -> np.ndarray:
    """A white image whose columns ``start`` to ``stop`` are black."""
    image = np.ones((height, width), np.float32)
    image[:, start:stop] = 0
    return image


def to_batch(photo: np.ndarray) -> np.ndarray:
    """``H x W x C`` to ``1 x C x H x W``."""
    return photo.transpose(2, 0, 1)[np.newaxis]


def edges(photo: np.ndarray) -> np.ndarray:
    """Where the colours of an ``H x W x 3`` photograph change: the Laplacian of each channel, added up."""
    conv = nn.Conv2d(3, 1, 3, bias=False)
    conv.weight.data[:] = np.stack([LAPLACIAN] * 3)[np.newaxis]
    with fc.no_grad():
        return conv(to_batch(photo)).numpy()[0, 0]


def blur(photo: np.ndarray, size: int = 9) -> np.ndarray:
    """Each pixel's mean over a ``size x size`` neighbourhood, channel by channel; the border is repeated
    outwards."""
    before, after = (size - 1) // 2, size // 2
    x = F.pad(to_batch(photo), (before, after, before, after), mode="replicate")
    mean = fc.full((3, 1, size, size), 1 / size**2)
    return F.conv2d(x, mean, groups=3).numpy()[0].transpose(1, 2, 0)


def read(path=None) -> np.ndarray:
    """A photograph as ``H x W x 3`` float32 in [0, 1]; without a path Grace Hopper's portrait, which comes
    with matplotlib (US Navy, public domain)."""
    try:
        from matplotlib.cbook import get_sample_data
        from PIL import Image
    except ImportError:
        raise SystemExit('reading a photograph needs matplotlib: pip install "fastconv[train]"') from None
    if path is None:
        path = get_sample_data("grace_hopper.jpg", asfileobj=False)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float32) / 255


def main(argv=None) -> None:
    parser = pictures.parser("Edges and blur with kernels made by hand.", "edge_detection")
    parser.add_argument("--image", help="photograph to work on (default: one that comes with matplotlib)")
    args = parser.parse_args(argv)

    small, wide = bar(6, 8, 2, 6), bar(50, 50, 30, 50)
    vertical, border = correlate(small, [[1, -1]]), correlate(wide, [[1, 0, -1]])
    on_its_side = correlate(small.T, [[1, -1]])
    print("a black bar, kernel [1, -1], one row:", *vertical[0])
    print("the image on its side, the same kernel:", "edges" if on_its_side.any() else "no edge")
    pictures.save(
        args.out / "vertical_edges.png",
        [
            [
                ("columns 2 to 5 black", small),
                ("[1, -1]", vertical),
                ("[1, -1], image on its side", on_its_side),
            ],
            [("black from column 30 on", wide), ("[1, 0, -1]", border)],
        ],
    )

    photo = read(args.image)
    pictures.save(
        args.out / "photograph.png",
        [
            [
                ("photograph", photo),
                ("Laplacian", np.abs(edges(photo)).clip(0, 0.5)),
                ("mean of 9 x 9", blur(photo)),
            ],
        ],
    )


if __name__ == "__main__":
    main()
