"""What stays the same when the image moves: ``python examples/translation_invariance.py``.

A convolution's response moves along with the shape it detects (equivariance). Max pooling forgets where in
its window the response was, so the strongest one stays in its place under a shift inside the window; the
maximum over the whole image stays the same under any (invariance).
"""

import numpy as np
import pictures

import fastconv as fc
from fastconv.nn import functional as F

SHAPE = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 1]], np.float32)  # a letter L; the detector looks like it


def shifted(by: int) -> np.ndarray:
    """A 16 x 18 image with the shape ``by`` pixels right of its first place."""
    image = np.zeros((16, 18), np.float32)
    image[4:7, 4 + by : 7 + by] = SHAPE
    return image


def respond(image) -> tuple[np.ndarray, np.ndarray, float]:
    """Convolution with the detector (14 x 16), its 4 x 4 max pooling (3 x 4), and its maximum over the whole
    image."""
    x, w = (fc.tensor(a).reshape(1, 1, *a.shape) for a in (image, SHAPE))
    response = F.conv2d(x, w)
    pooled = F.max_pool2d(response, kernel_size=4)
    return response.numpy()[0, 0], pooled.numpy()[0, 0], F.adaptive_max_pool2d(response, 1).item()


def strongest(a: np.ndarray) -> tuple[int, int]:
    """Row and column of the greatest value."""
    return tuple(int(i) for i in np.unravel_index(a.argmax(), a.shape))


def main(argv=None) -> None:
    description = "Show how convolution and max pooling answer to a shift."
    args = pictures.parser(description, "translation_invariance").parse_args(argv)
    rows = []
    print("shift  strongest response  after pooling  over the whole image")
    for by in range(6):
        image = shifted(by)
        response, pooled, whole = respond(image)
        print(f"{by:5}  at {strongest(response)!s:15}  at {strongest(pooled)!s:10}  {whole:g}")
        titles = (
            f"moved by {by}",
            f"convolution {strongest(response)}",
            f"pooled {strongest(pooled)}, max {whole:g}",
        )
        rows.append(list(zip(titles, (image, response, pooled))))
    pictures.save(args.out / "translation_invariance.png", rows)


if __name__ == "__main__":
    main()
