"""Find the kernel that turns one image into another by gradient descent: ``python
examples/learn_a_kernel.py``."""

import pictures

import fastconv as fc
from fastconv import nn


def data() -> tuple[fc.Tensor, fc.Tensor]:
    """A 6 x 8 image with a black bar, and its edges: 1 from white to black, -1 back."""
    X, Y = fc.ones((1, 1, 6, 8)), fc.zeros((1, 1, 6, 7))
    X[..., 2:6] = 0
    Y[..., 1], Y[..., 5] = 1, -1
    return X, Y


def learn(X, Y, start=(-0.1508, 0.4339), steps: int = 10, lr: float = 3e-2) -> tuple[fc.Tensor, list[float]]:
    """The 1 x 2 kernel after ``steps`` of gradient descent on the summed squared error, and the error of each
    step."""
    conv = nn.Conv2d(1, 1, kernel_size=(1, 2), bias=False)
    conv.weight.data[:] = fc.tensor(start).reshape(1, 1, 1, 2)
    losses = []
    for i in range(steps):
        l = (conv(X) - Y) ** 2  # noqa: E741 - the notes' name
        conv.zero_grad()
        l.sum().backward()
        conv.weight.data[:] -= lr * conv.weight.grad
        losses.append(l.sum().item())
        if (i + 1) % 2 == 0:
            print(f"epoch {i + 1}, loss {l.sum():.3f}")
    return conv.weight.detach(), losses


def main(argv=None) -> None:
    args = pictures.parser(
        "Learn an edge detector from one image and its edges.", "learn_a_kernel"
    ).parse_args(argv)
    X, Y = data()
    kernel, losses = learn(X, Y)
    print("learned kernel:", kernel.numpy().ravel().round(4), "(the edges were made with [1, -1])")
    learned = nn.functional.conv2d(X, kernel)
    titles = ("image", "edges to find", f"found, loss {losses[-1]:.3f}", "kernel")
    panel = [(title, a.numpy()[0, 0]) for title, a in zip(titles, (X, Y, learned, kernel))]
    pictures.save(args.out / "learn_a_kernel.png", [panel])


if __name__ == "__main__":
    main()
