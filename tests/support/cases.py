"""One list of cases for every op.

Forward, gradient, backend agreement, memory layouts, NaN and infinity, repeatability and agreement with
PyTorch are all parametrised from :data:`CASES`: a new op needs loops in ``oracle.py`` and a case here, no new
test.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from support import oracle


@dataclass(frozen=True, eq=False)
class Case:
    """A call, the arrays it is called on, and what it must return.

    Attributes
    ----------
    name : str
    function : ``(F, *tensors) -> Tensor``; ``F`` is ``fastconv.nn.functional`` or ``torch.nn.functional``
    inputs : ``(rng) -> list of float arrays``, the differentiable arguments
    oracle : ``(*arrays) -> array``, from float64 arrays
    constants : arrays passed after the inputs, without gradient; float ones take the inputs' dtype
    rtol : relative tolerance by dtype, relative to the largest result where that exceeds 1
    reason : why the tolerance is wider than the default
    gradient : whether the result is differentiable
    torch : whether the same call means the same in ``torch.nn.functional``
    finite_only : whether NaN and infinity are outside the op's meaning
    """

    name: str
    function: Callable
    inputs: Callable
    oracle: Callable
    constants: tuple = ()
    rtol: dict = field(default_factory=lambda: {"float32": 2e-6, "float64": 1e-13})
    reason: str = ""
    gradient: bool = True
    torch: bool = True
    finite_only: bool = False

    def __str__(self) -> str:
        return self.name

    @cached_property
    def arrays(self) -> tuple:
        """The inputs as float64 arrays that float32 represents exactly, so that one expectation serves
        both."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        return tuple(np.asarray(a, np.float32).astype(np.float64) for a in self.inputs(rng))

    @cached_property
    def expected(self):
        """The oracle's result."""
        return np.asarray(self.oracle(*self.arrays, *self.constants))


def exact(values):
    """A float64 array that float32 represents exactly."""
    return np.asarray(values, np.float32).astype(np.float64)


def normal(*shapes):
    """Normally distributed inputs of the given shapes (``None`` is left out)."""
    return lambda rng: [rng.standard_normal(s) for s in shapes if s is not None]


def positive(*shapes):
    """Inputs between 0.5 and 2."""
    return lambda rng: [rng.uniform(0.5, 2.0, s) for s in shapes]


def tied(*shapes):
    """Small integers: many equal values, so that the first maximum has to win."""
    return lambda rng: [rng.integers(0, 3, s).astype(float) for s in shapes]


CASES: list[Case] = []


def case(name, function, inputs, expected, *constants, **fields):
    CASES.append(Case(name, function, inputs, expected, constants, **fields))


# -------------------------------------------------------------------------------------------------
# convolution
def conv_case(name, x, w, bias=True, meaning=None, torch=True, **options):
    """``meaning``: the options in the oracle's spelling, where that differs from ``options``."""
    n = len(w) - 2
    case(
        f"conv{n}d-{name}",
        lambda F, *t: getattr(F, f"conv{n}d")(*t, **options),
        normal(x, w, (w[0],) if bias else None),
        lambda *a: oracle.conv(*a, **(options if meaning is None else meaning)),
        torch=torch,
    )


conv_case("plain", (2, 3, 6, 5), (4, 3, 3, 3))
conv_case("no-bias", (2, 3, 6, 5), (4, 3, 3, 3), bias=False)
conv_case("1x1", (2, 5, 4, 4), (3, 5, 1, 1))
conv_case("1x1-stride", (2, 5, 5, 4), (3, 5, 1, 1), stride=2)
conv_case("even-kernel", (2, 2, 5, 5), (3, 2, 2, 4), padding=1)
conv_case("padding", (2, 3, 5, 5), (4, 3, 3, 3), padding=1)
conv_case("padding-tuple", (1, 2, 4, 5), (3, 2, 3, 3), padding=(2, 0))
conv_case("stride", (2, 2, 7, 7), (3, 2, 3, 3), stride=2, padding=1)
conv_case("stride-tuple", (1, 2, 7, 8), (3, 2, 3, 2), stride=(3, 2), padding=1)
conv_case("stride-over-kernel", (1, 2, 8, 8), (2, 2, 2, 2), stride=3)
conv_case("leftover-rows", (1, 2, 8, 6), (2, 2, 3, 3), stride=3)
conv_case("dilation", (2, 2, 8, 7), (3, 2, 3, 3), dilation=2, padding=2)
conv_case("dilation-stride", (1, 2, 9, 8), (3, 2, 3, 2), dilation=(2, 3), stride=2, padding=(1, 2))
conv_case("stem", (1, 3, 9, 12), (4, 3, 7, 7), stride=2, padding=3)
conv_case("stem-even-padding", (2, 2, 8, 7), (3, 2, 5, 5), stride=2, padding=2)
conv_case("even-stem", (1, 2, 7, 9), (3, 2, 6, 6), stride=2, padding=(1, 3))
conv_case("4x4", (2, 2, 6, 5), (3, 2, 4, 4), padding=1)
conv_case("5x5", (1, 3, 6, 8), (4, 3, 5, 5), padding=2)
conv_case("groups", (2, 4, 5, 5), (6, 2, 3, 3), groups=2, padding=1)
conv_case("groups-stride-dilation", (1, 6, 7, 7), (3, 2, 2, 2), groups=3, stride=2, dilation=2, padding=1)
conv_case("depthwise", (2, 5, 6, 6), (5, 1, 3, 3), groups=5, padding=1)
conv_case("depthwise-multiplier", (2, 3, 6, 6), (6, 1, 3, 3), groups=3, stride=2, padding=1)
conv_case("one-channel", (2, 1, 6, 6), (1, 1, 5, 5), padding=2)
conv_case("vector-channels", (1, 17, 4, 4), (19, 17, 3, 3), padding=1)
conv_case("wide-row", (1, 2, 3, 40), (3, 2, 3, 3), padding=1)
conv_case("kernel-over-input", (1, 2, 3, 2), (3, 2, 5, 5), padding=2)
conv_case("whole-input", (2, 3, 4, 4), (5, 3, 4, 4))
conv_case("same-string", (1, 2, 5, 6), (3, 2, 3, 3), padding="same", meaning={"padding": 1})
conv_case("same-even", (1, 2, 5, 6), (3, 2, 2, 4), padding="same", meaning={"padding": ((0, 1), (1, 2))})
conv_case(
    "same-strided",
    (1, 2, 5, 6),
    (3, 2, 3, 3),
    padding="same",
    stride=2,
    torch=False,
    meaning={"padding": ((1, 1), (0, 1)), "stride": 2},
)
conv_case("valid-string", (1, 2, 5, 6), (3, 2, 3, 3), padding="valid", meaning={})
conv_case("full-string", (1, 2, 4, 3), (3, 2, 3, 2), padding="full", torch=False, meaning={"padding": (2, 1)})
conv_case(
    "full-dilated",
    (1, 1, 4, 3),
    (2, 1, 3, 2),
    padding="full",
    dilation=2,
    torch=False,
    meaning={"padding": (4, 2), "dilation": 2},
)
conv_case("pairs", (2, 2, 5, 4), (3, 2, 3, 3), padding=((2, 0), (1, 3)), torch=False)
conv_case(
    "pairs-stride-groups",
    (1, 4, 6, 5),
    (4, 2, 3, 2),
    padding=((0, 3), (2, 1)),
    stride=2,
    groups=2,
    torch=False,
)
conv_case("line", (2, 3, 9), (4, 3, 3), padding=1)
conv_case("line-options", (2, 4, 11), (6, 2, 3), stride=2, padding=2, dilation=2, groups=2)
conv_case("line-pairs", (1, 2, 7), (3, 2, 4), padding=((3, 0),), torch=False)
conv_case("line-same-even", (1, 2, 7), (3, 2, 4), padding="same", meaning={"padding": ((1, 2),)})
conv_case("volume", (1, 2, 4, 5, 4), (3, 2, 2, 3, 3), padding=1)
conv_case(
    "volume-options",
    (1, 4, 5, 5, 4),
    (4, 2, 2, 2, 3),
    stride=(2, 1, 2),
    padding=(1, 0, 2),
    dilation=(1, 2, 1),
    groups=2,
)
conv_case("volume-pairs", (1, 2, 3, 4, 3), (2, 2, 2, 2, 2), padding=((1, 0), (0, 2), (0, 0)), torch=False)
for n, x, w in ((1, (3, 6), (2, 3, 3)), (2, (3, 5, 4), (2, 3, 3, 3)), (3, (2, 3, 4, 3), (2, 2, 2, 2, 2))):
    case(
        f"conv{n}d-unbatched",
        lambda F, *t, n=n: getattr(F, f"conv{n}d")(*t, padding=1),
        normal(x, w, (2,)),
        lambda x, w, b: oracle.conv(x[None], w, b, padding=1)[0],
    )
case(
    "convolve2d",
    lambda F, x, w: F.convolve2d(x, w),
    normal((2, 2, 5, 4), (3, 2, 3, 2)),
    lambda x, w: oracle.conv(x, w[:, :, ::-1, ::-1]),
    torch=False,
)
case(
    "convolve2d-options",
    lambda F, *t: F.convolve2d(*t, stride=2, padding=1),
    normal((2, 2, 6, 5), (3, 2, 3, 2), (3,)),
    lambda x, w, b: oracle.conv(x, w[:, :, ::-1, ::-1], b, stride=2, padding=1),
    torch=False,
)
for algorithm in ("auto", "direct", "im2col"):
    for name, x, w, options in (
        ("plain", (2, 3, 6, 5), (4, 3, 3, 3), {"padding": 1}),
        (
            "mixed",
            (1, 4, 7, 6),
            (6, 2, 3, 2),
            {"stride": 2, "dilation": 2, "groups": 2, "padding": ((1, 2), (0, 3))},
        ),
        ("line", (2, 3, 9), (4, 3, 3), {"padding": 1}),
    ):
        conv_case(f"{algorithm}-{name}", x, w, torch=False, meaning=options, algorithm=algorithm, **options)


def conv_transpose_case(name, x, w, bias=True, torch=True, **options):
    n = len(w) - 2
    case(
        f"conv_transpose{n}d-{name}",
        lambda F, *t: getattr(F, f"conv_transpose{n}d")(*t, **options),
        normal(x, w, (w[1] * options.get("groups", 1),) if bias else None),
        lambda *a: oracle.conv_transpose(*a, **options),
        torch=torch,
    )


conv_transpose_case("plain", (2, 3, 3, 4), (3, 2, 3, 3))
conv_transpose_case("no-bias", (1, 2, 3, 4), (2, 3, 2, 2), bias=False, stride=2)
conv_transpose_case("stride-padding", (2, 3, 3, 3), (3, 2, 4, 4), stride=2, padding=1)
conv_transpose_case(
    "output-padding", (1, 2, 3, 4), (2, 3, 3, 3), stride=(2, 3), padding=1, output_padding=(1, 2)
)
conv_transpose_case("groups-dilation", (1, 4, 3, 3), (4, 3, 2, 3), stride=2, groups=2, dilation=2, padding=1)
conv_transpose_case("line", (2, 3, 5), (3, 2, 3), stride=3, padding=1, output_padding=2)
conv_transpose_case("line-groups", (1, 4, 4), (4, 2, 2), bias=False, stride=2, groups=2)
conv_transpose_case("volume", (1, 2, 2, 3, 2), (2, 3, 2, 3, 2), stride=(2, 1, 2), padding=(0, 1, 0))

# ------------------------------------------------------------------------------------------------- pooling
PLANES = {1: (2, 3, 9), 2: (2, 3, 7, 6), 3: (1, 2, 5, 4, 6)}


def pool_case(kind, n, name, inputs=None, torch=True, **options):
    case(
        f"{kind}_pool{n}d-{name}",
        lambda F, x: getattr(F, f"{kind}_pool{n}d")(x, **options),
        inputs or normal(PLANES[n]),
        lambda x: getattr(oracle, f"{kind}_pool")(x, **options),
        torch=torch,
    )


for n in PLANES:
    for kind in ("max", "avg"):
        pool_case(kind, n, "plain", kernel_size=2)
        pool_case(kind, n, "overlap", kernel_size=3, stride=2, padding=1)
        pool_case(kind, n, "ceil", kernel_size=3, stride=2, ceil_mode=True)
        pool_case(kind, n, "ceil-padding", kernel_size=2, stride=3, padding=1, ceil_mode=True)
        case(
            f"{kind}_pool{n}d-unbatched",
            lambda F, x, kind=kind, n=n: getattr(F, f"{kind}_pool{n}d")(x, 2),
            normal(PLANES[n][1:]),
            lambda x, kind=kind: getattr(oracle, f"{kind}_pool")(x[None], 2)[0],
        )
    pool_case("max", n, "dilation", kernel_size=2, stride=1, dilation=2)
    pool_case("avg", n, "no-pad", kernel_size=3, stride=2, padding=1, count_include_pad=False)
    pool_case(
        "avg", n, "no-pad-ceil", kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False
    )
    case(
        f"max_pool{n}d-indices",
        lambda F, x, n=n: getattr(F, f"max_pool{n}d")(x, 3, stride=2, padding=1, return_indices=True)[1],
        tied(PLANES[n]),
        lambda x: oracle.max_pool(x, 3, stride=2, padding=1, return_indices=True),
        gradient=False,
    )
    case(
        f"max_pool{n}d-with-indices",
        lambda F, x, n=n: getattr(F, f"max_pool{n}d")(x, 3, stride=2, padding=1, return_indices=True)[0],
        normal(PLANES[n]),
        lambda x: oracle.max_pool(x, 3, stride=2, padding=1),
    )
# kernels of many positions
LONG = {1: ((1, 2, 61), 23), 2: ((1, 1, 19, 17), (11, 12)), 3: ((1, 2, 9, 8, 10), (7, 5, 6))}
for n, (shape, kernel) in LONG.items():
    half = kernel // 2 if n == 1 else tuple(k // 2 for k in kernel)
    for kind in ("max", "avg"):
        pool_case(kind, n, "large", inputs=normal(shape), kernel_size=kernel, stride=1)
        pool_case(
            kind,
            n,
            "large-padding",
            inputs=normal(shape),
            kernel_size=kernel,
            stride=2,
            padding=half,
            ceil_mode=True,
        )
    pool_case(
        "avg",
        n,
        "large-no-pad",
        inputs=normal(shape),
        kernel_size=kernel,
        stride=1,
        padding=half,
        count_include_pad=False,
    )
    case(
        f"max_pool{n}d-large-indices",
        lambda F, x, k=kernel, p=half: getattr(F, f"max_pool{x.ndim - 2}d")(
            x, k, stride=1, padding=p, return_indices=True
        )[1],
        tied(shape),
        lambda x, k=kernel, p=half: oracle.max_pool(x, k, stride=1, padding=p, return_indices=True),
        gradient=False,
    )
pool_case(
    "max", 1, "large-dilation", inputs=normal((1, 1, 80)), kernel_size=18, stride=3, padding=9, dilation=4
)
pool_case(
    "max", 2, "large-dilation", inputs=normal((1, 2, 30, 31)), kernel_size=10, stride=1, dilation=(2, 3)
)
pool_case(
    "avg", 2, "large-divisor", inputs=normal((1, 1, 19, 17)), kernel_size=11, stride=1, divisor_override=5
)
for kind in ("max", "avg"):
    pool_case(kind, 2, "tuples", kernel_size=(2, 3), stride=(3, 1), padding=(1, 0))
    pool_case(kind, 2, "pairs", torch=False, kernel_size=3, stride=2, padding=((1, 0), (0, 1)))
    pool_case(kind, 2, "vector-channels", inputs=normal((1, 33, 4, 5)), kernel_size=3, stride=1, padding=1)
pool_case("avg", 2, "divisor", kernel_size=3, stride=2, padding=1, divisor_override=5)
pool_case("avg", 3, "divisor", kernel_size=2, divisor_override=3)
for shape, size in (
    ((2, 3, 7, 5), 1),
    ((2, 3, 7, 5), (3, 2)),
    ((2, 3, 7, 5), (None, 4)),
    ((2, 3, 7, 5), (9, 8)),
    ((2, 3, 9), 4),
    ((1, 2, 5, 4, 3), (2, None, 5)),
):
    for kind in ("avg", "max"):
        case(
            f"adaptive_{kind}_pool{len(shape) - 2}d-{size}".replace(" ", ""),
            lambda F, x, kind=kind, size=size: getattr(F, f"adaptive_{kind}_pool{x.ndim - 2}d")(x, size),
            normal(shape),
            lambda x, kind=kind, size=size: oracle.adaptive_pool(x, size, kind),
        )
    case(
        f"adaptive_max_pool{len(shape) - 2}d-{size}-indices".replace(" ", ""),
        lambda F, x, size=size: getattr(F, f"adaptive_max_pool{x.ndim - 2}d")(x, size, return_indices=True)[
            1
        ],
        tied(shape),
        lambda x, size=size: oracle.adaptive_pool(x, size, "max", return_indices=True),
        gradient=False,
    )
for n in PLANES:
    case(
        f"lp_pool{n}d",
        lambda F, x, n=n: getattr(F, f"lp_pool{n}d")(x, 3, 2, stride=1),
        positive(PLANES[n]),
        lambda x: oracle.lp_pool(x, 3, 2, stride=1),
        rtol={"float32": 1e-5, "float64": 1e-13},
        reason="a power and a root",
    )
    size = tuple(2 * i + 1 for i in PLANES[n][2:])
    places = np.random.default_rng(0).integers(0, np.prod(size), PLANES[n])
    case(
        f"max_unpool{n}d",
        lambda F, x, i, n=n, size=size: getattr(F, f"max_unpool{n}d")(x, i, 3, 2, output_size=size),
        normal(PLANES[n]),
        lambda x, i, size=size: oracle.max_unpool(x, i, size),
        places,
        gradient=False,  # of elements that another one replaced the derivative is not what is documented
    )
    unique = np.arange(np.prod(PLANES[n])).reshape(PLANES[n]) % np.prod(PLANES[n][2:])
    case(
        f"max_unpool{n}d-each",
        lambda F, x, i, n=n, size=size: getattr(F, f"max_unpool{n}d")(x, i, 3, 2, output_size=size),
        normal(PLANES[n]),
        lambda x, i, size=size: oracle.max_unpool(x, i, size),
        unique,
    )

# -------------------------------------------------------------------------------------------------
# normalisation
NORM = {
    "rtol": {"float32": 1e-5, "float64": 1e-12},
    "reason": "dividing by the standard deviation of few values magnifies rounding, twice in the gradient",
}
for name, shape in (
    ("rows", (5, 3)),
    ("line", (3, 4, 5)),
    ("plane", (2, 3, 4, 3)),
    ("volume", (2, 3, 2, 3, 2)),
):
    case(
        f"batch_norm-train-{name}",
        lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True),
        normal(shape, shape[1:2], shape[1:2]),
        oracle.batch_norm,
        **NORM,
    )
    case(
        f"batch_norm-eval-{name}",
        lambda F, x, w, b, mean, var: F.batch_norm(x, mean, var, w, b, False, eps=1e-3),
        normal(shape, shape[1:2], shape[1:2]),
        lambda *a: oracle.batch_norm(*a, eps=1e-3),
        exact(np.linspace(-1, 1, shape[1])),
        exact(np.linspace(0.5, 2, shape[1])),
    )
case(
    "batch_norm-train-plain",
    lambda F, x: F.batch_norm(x, None, None, None, None, True, eps=1e-2),
    normal((3, 2, 3, 3)),
    lambda x: oracle.batch_norm(x, eps=1e-2),
    **NORM,
)
case(
    "batch_norm-eval-plain",
    lambda F, x, mean, var: F.batch_norm(x, mean, var),
    normal((3, 2, 3, 3)),
    lambda x, mean, var: oracle.batch_norm(x, None, None, mean, var),
    exact([0.5, -1]),
    exact([0.25, 3]),
)
case(
    "batch_norm-vector-channels",
    lambda F, x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    normal((2, 21, 3, 3), (21,), (21,)),
    oracle.batch_norm,
    **NORM,
)
case(
    "batch_norm-far-from-zero",
    lambda F, x: F.batch_norm(x + 100.0, None, None, None, None, True),
    normal((4, 2, 3, 3)),
    lambda x: oracle.batch_norm(x + 100.0),
    rtol={"float32": 2e-4, "float64": 1e-11},
    reason="x + 100 itself is rounded to 100 * 2^-24, before the division by a deviation of about 1",
)
case(
    "layer_norm",
    lambda F, x, w, b: F.layer_norm(x, (6,), w, b),
    normal((4, 6), (6,), (6,)),
    lambda x, w, b: oracle.layer_norm(x, (6,), w, b),
    **NORM,
)
case(
    "layer_norm-plain",
    lambda F, x: F.layer_norm(x, (5,), eps=1e-2),
    normal((2, 3, 5)),
    lambda x: oracle.layer_norm(x, (5,), eps=1e-2),
    **NORM,
)
case(
    "layer_norm-chw",
    lambda F, x, w, b: F.layer_norm(x, (2, 3, 4), w, b),
    normal((3, 2, 3, 4), (2, 3, 4), (2, 3, 4)),
    lambda x, w, b: oracle.layer_norm(x, (2, 3, 4), w, b),
    **NORM,
)
for groups in (1, 2, 6):
    case(
        f"group_norm-{groups}",
        lambda F, x, w, b, groups=groups: F.group_norm(x, groups, w, b),
        normal((2, 6, 3, 2), (6,), (6,)),
        lambda x, w, b, groups=groups: oracle.group_norm(x, groups, w, b),
        **NORM,
    )
case(
    "group_norm-plain",
    lambda F, x: F.group_norm(x, 2, eps=1e-2),
    normal((3, 4, 5)),
    lambda x: oracle.group_norm(x, 2, eps=1e-2),
    **NORM,
)
case(
    "local_response_norm",
    lambda F, x: F.local_response_norm(x, 5),
    normal((2, 7, 3, 2)),
    lambda x: oracle.local_response_norm(x, 5),
)
for size in (1, 2, 3, 4):
    case(
        f"local_response_norm-{size}",
        lambda F, x, size=size: F.local_response_norm(x, size, alpha=0.3, beta=0.6, k=2.0),
        normal((1, 5, 2, 3)),
        lambda x, size=size: oracle.local_response_norm(x, size, 0.3, 0.6, 2.0),
    )

# -------------------------------------------------------------------------------------------------
# activations
WIDE = exact([[-30, -10, -3.5, -1, -0.25, -1e-3], [1e-3, 0.25, 1, 3.5, 10, 30]])


def spread(rng):
    """Small, ordinary and large arguments."""
    return [WIDE + 0.01 * rng.standard_normal(WIDE.shape)]


for name in (
    *("relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "relu6", "hardtanh", "hardsigmoid"),
    *("hardswish", "elu", "selu", "celu", "softplus", "mish", "softsign", "logsigmoid", "hardshrink"),
    *("softshrink", "tanhshrink"),
):
    case(name, lambda F, x, name=name: getattr(F, name)(x), normal((2, 3, 4, 5)), getattr(oracle, name))
    case(f"{name}-spread", lambda F, x, name=name: getattr(F, name)(x), spread, getattr(oracle, name))
case(
    "leaky_relu-slope", lambda F, x: F.leaky_relu(x, 0.2), normal((3, 7)), lambda x: oracle.leaky_relu(x, 0.2)
)
for call, *options in (
    ("elu", 0.3),
    ("celu", 0.4),
    ("softplus", 1.7, 3.0),
    ("hardtanh", -0.4, 1.2),
    ("hardshrink", 0.8),
    ("softshrink", 0.2),
    ("threshold", 0.3, -2.0),
):
    case(
        f"{call}-options",
        lambda F, x, call=call, options=options: getattr(F, call)(x, *options),
        normal((3, 7)),
        lambda x, call=call, options=options: getattr(oracle, call)(x, *options),
    )
for shape, weights in (((2, 3, 4, 5), 3), ((2, 3, 4, 5), 1), ((4, 6), 6), ((7,), 1)):
    case(
        f"prelu-{len(shape)}d-{weights}",
        lambda F, x, w: F.prelu(x, w),
        normal(shape, (weights,)),
        oracle.prelu,
    )
for shape, dim in (((3, 8), -1), ((2, 6, 3, 2), 1)):
    case(
        f"glu-{len(shape)}d",
        lambda F, x, dim=dim: F.glu(x, dim),
        normal(shape),
        lambda x, dim=dim: oracle.glu(x, dim),
    )
for shape in ((3, 7), (2, 3, 4, 5)):
    case(
        f"gelu-tanh-{len(shape)}d",
        lambda F, x: F.gelu(x, approximate="tanh"),
        normal(shape),
        lambda x: oracle.gelu(x, "tanh"),
    )
for shape, dim in (((4, 6), 1), ((4, 6), 0), ((2, 3, 4), -1), ((2, 5, 3, 2), 1), ((7,), 0)):
    for name in ("softmax", "log_softmax"):
        case(
            f"{name}-{len(shape)}d-{dim}",
            lambda F, x, name=name, dim=dim: getattr(F, name)(x, dim=dim),
            normal(shape),
            lambda x, name=name, dim=dim: getattr(oracle, name)(x, dim),
        )
case(
    "softmax-large",
    lambda F, x: F.softmax(x, dim=1),
    lambda rng: [1000 * rng.standard_normal((3, 4))],
    lambda x: oracle.softmax(x, 1),
)
case(
    "log_softmax-large",
    lambda F, x: F.log_softmax(x, dim=1),
    lambda rng: [1000 * rng.standard_normal((3, 4))],
    lambda x: oracle.log_softmax(x, 1),
)

# ------------------------------------------------------------------------------------------------- dense
case("linear", lambda F, *t: F.linear(*t), normal((4, 5), (3, 5), (3,)), oracle.linear)
case("linear-no-bias", lambda F, *t: F.linear(*t), normal((4, 5), (3, 5)), oracle.linear)
case("linear-3d", lambda F, *t: F.linear(*t), normal((2, 3, 5), (4, 5), (4,)), oracle.linear)
case("linear-vector", lambda F, *t: F.linear(*t), normal((5,), (4, 5), (4,)), oracle.linear)
case("linear-vector-width", lambda F, *t: F.linear(*t), normal((3, 67), (33, 67), (33,)), oracle.linear)
for a, b in (
    ((3, 4), (4, 5)),
    ((2, 3, 4), (4, 2)),
    ((2, 1, 3, 4), (3, 4, 2)),
    ((4,), (4, 3)),
    ((3, 4), (4,)),
    ((4,), (4,)),
):
    case(f"matmul-{a}@{b}".replace(" ", ""), lambda F, a, b: a @ b, normal(a, b), oracle.matmul)

# ------------------------------------------------------------------------------------------------- losses
LABELS = np.array([2, 0, 4, 2, 1])
LABELS_2D = np.array([[[0, 2], [1, 1]], [[2, 2], [0, 1]]])
CLASS_WEIGHT = exact([0.5, 2, 1, 0.25, 3])
PROBABILITIES = exact(np.random.default_rng(0).dirichlet(np.ones(5), 4))


def loss_case(name, function, inputs, expected, *constants, finite_only=False, **options):
    for reduction in ("none", "mean", "sum"):
        case(
            f"{function}-{name}-{reduction}",
            lambda F, *t, r=reduction: getattr(F, function)(*t, reduction=r, **options),
            inputs,
            lambda *a, r=reduction: expected(*a, reduction=r, **options),
            *constants,
            finite_only=finite_only,
        )


loss_case("plain", "cross_entropy", normal((5, 6)), oracle.cross_entropy, LABELS)
loss_case("weight", "cross_entropy", normal((5, 5)), oracle.cross_entropy, LABELS, CLASS_WEIGHT)
loss_case(
    "ignore", "cross_entropy", normal((5, 5)), oracle.cross_entropy, LABELS, CLASS_WEIGHT, ignore_index=2
)
loss_case("smoothing", "cross_entropy", normal((5, 6)), oracle.cross_entropy, LABELS, label_smoothing=0.1)
loss_case(
    "smoothing-weight-ignore",
    "cross_entropy",
    normal((5, 5)),
    oracle.cross_entropy,
    LABELS,
    CLASS_WEIGHT,
    label_smoothing=0.2,
    ignore_index=0,
)
loss_case(
    "ignore-default", "cross_entropy", normal((5, 6)), oracle.cross_entropy, np.array([-100, 1, 5, -100, 0])
)
loss_case("2d", "cross_entropy", normal((2, 3, 2, 2)), oracle.cross_entropy, LABELS_2D)
loss_case(
    "2d-options",
    "cross_entropy",
    normal((2, 3, 2, 2)),
    oracle.cross_entropy,
    LABELS_2D,
    CLASS_WEIGHT[:3],
    label_smoothing=0.3,
    ignore_index=1,
)
loss_case("probabilities", "cross_entropy", normal((4, 5)), oracle.cross_entropy, PROBABILITIES)
loss_case(
    "probabilities-options",
    "cross_entropy",
    normal((4, 5)),
    oracle.cross_entropy,
    PROBABILITIES,
    CLASS_WEIGHT,
    label_smoothing=0.1,
)
loss_case("unbatched", "cross_entropy", normal((5,)), oracle.cross_entropy, np.array(3))
loss_case(
    "large-logits",
    "cross_entropy",
    lambda rng: [500 * rng.standard_normal((5, 6))],
    oracle.cross_entropy,
    LABELS,
)
loss_case("plain", "nll_loss", normal((5, 6)), oracle.nll_loss, LABELS)
loss_case("options", "nll_loss", normal((5, 5)), oracle.nll_loss, LABELS, CLASS_WEIGHT, ignore_index=2)
loss_case("2d", "nll_loss", normal((2, 3, 2, 2)), oracle.nll_loss, LABELS_2D)
loss_case("plain", "mse_loss", normal((3, 4), (3, 4)), oracle.mse_loss)
loss_case("plane", "mse_loss", normal((2, 3, 2, 3), (2, 3, 2, 3)), oracle.mse_loss)
loss_case(
    "plain",
    "binary_cross_entropy_with_logits",
    lambda rng: [*spread(rng), rng.random(WIDE.shape)],
    oracle.bce_with_logits,
    finite_only=True,
)
for reduction in ("none", "mean", "sum"):
    case(
        f"binary_cross_entropy_with_logits-weights-{reduction}",
        lambda F, x, t, w, p, r=reduction: F.binary_cross_entropy_with_logits(
            x, t, w, pos_weight=p, reduction=r
        ),
        normal((3, 4)),
        lambda x, t, w, p, r=reduction: oracle.bce_with_logits(x, t, w, p, r),
        exact(np.arange(12).reshape(3, 4) % 2),
        exact(np.linspace(0.5, 2, 12).reshape(3, 4)),
        exact([1, 2, 0.5, 3]),
    )
case(
    "one_hot",
    lambda F, x, i: F.one_hot(i, 5),
    normal((1,)),
    lambda x, i: oracle.one_hot(i, 5),
    np.array([[0, 4, 2], [1, 1, 3]]),
    gradient=False,
    finite_only=True,
)
case(
    "one_hot-classes",
    lambda F, x, i: F.one_hot(i),
    normal((1,)),
    lambda x, i: oracle.one_hot(i, 4),
    np.array([0, 3, 2]),
    gradient=False,
    finite_only=True,
)

# ------------------------------------------------------------------------------------------------- shape
for mode, shape, sizes in (
    ("constant", (2, 3, 4, 5), (1, 2, 0, 3)),
    ("constant", (2, 3, 4, 5), (1, 2, 0, 1, 2, 0, 1, 1)),
    ("constant", (2, 3, 4, 5), (-1, 2, 1, -2)),
    ("constant", (4, 5), (-1, -2)),
    ("reflect", (2, 3, 4, 5), (4, 1, 0, 3)),
    ("reflect", (2, 3, 6), (2, 5)),
    ("reflect", (2, 3, 4, 5), (2, -1, -1, 3)),
    ("replicate", (2, 3, 4, 5), (3, 1, 0, 7)),
    ("replicate", (2, 3, 6), (2, 8)),
    ("replicate", (2, 3, 4, 5), (-2, 1, 3, -1)),
    ("circular", (2, 3, 4, 5), (5, 1, 0, 4)),
    ("circular", (2, 3, 6), (6, 2)),
    ("circular", (2, 3, 4, 5), (-1, 2, 1, -2)),
    ("constant", (2, 3, 4), (-2, -2)),
    ("reflect", (1, 2, 3, 4, 3), (1, 2, 0, 3, 2, 1)),
    ("replicate", (1, 2, 3, 2, 3), (1, 2, 0, 3, 2, 1)),
    ("circular", (1, 2, 3, 2, 3), (1, 2, 0, 1, 2, 1)),
    ("constant", (1, 2, 3, 2, 3), (1, 2, 0, 1, 2, 1, 1, 0)),
):
    case(
        f"pad-{mode}-{len(shape)}d-{sizes}".replace(" ", ""),
        lambda F, x, mode=mode, sizes=sizes: F.pad(x, sizes, mode=mode),
        normal(shape),
        lambda x, mode=mode, sizes=sizes: oracle.pad(x, sizes, mode),
    )
case(
    "pad-value",
    lambda F, x: F.pad(x, (1, 0, 2, 1), value=-1.5),
    normal((1, 2, 3, 2)),
    lambda x: oracle.pad(x, (1, 0, 2, 1), value=-1.5),
)

RESIZE = {
    "rtol": {"float32": 1e-5, "float64": 1e-12},
    "reason": "the taps' weights come from coordinates computed in the array's precision",
}
IMAGES = (2, 3, 4, 5)
for mode, shape, options in (
    ("nearest", IMAGES, {"size": (7, 3)}),
    ("nearest", IMAGES, {"size": 4}),
    ("nearest", IMAGES, {"scale_factor": 2}),
    ("nearest", IMAGES, {"scale_factor": (1.5, 0.6)}),
    ("nearest", (2, 3, 5), {"size": 8}),
    ("nearest", (1, 2, 2, 3, 4), {"size": (4, 2, 5)}),
    ("nearest-exact", IMAGES, {"size": (7, 3)}),
    ("nearest-exact", (2, 3, 5), {"scale_factor": 1.7}),
    ("nearest-exact", (1, 2, 2, 3, 4), {"size": (4, 2, 5)}),
    ("linear", (2, 3, 5), {"size": 8}),
    ("linear", (2, 3, 5), {"scale_factor": 2.5, "align_corners": True}),
    ("bilinear", IMAGES, {"size": (7, 3)}),
    ("bilinear", IMAGES, {"size": (3, 9)}),
    ("bilinear", IMAGES, {"scale_factor": 2}),
    ("bilinear", IMAGES, {"scale_factor": (1.7, 0.6)}),
    ("bilinear", IMAGES, {"size": (7, 3), "align_corners": True}),
    ("bilinear", IMAGES, {"size": (1, 8), "align_corners": True}),
    ("bilinear", IMAGES, {"scale_factor": 2, "align_corners": True}),
    ("bilinear", (1, 33, 3, 2), {"size": (5, 7)}),
    ("bicubic", IMAGES, {"size": (7, 3)}),
    ("bicubic", IMAGES, {"scale_factor": (1.7, 0.6)}),
    ("bicubic", IMAGES, {"size": (1, 8), "align_corners": True}),
    ("trilinear", (1, 2, 2, 3, 4), {"size": (4, 2, 5)}),
    ("trilinear", (1, 2, 2, 3, 4), {"scale_factor": 2, "align_corners": True}),
    ("area", IMAGES, {"size": (7, 3)}),
    ("area", (2, 3, 7), {"scale_factor": 0.5}),
    ("area", (1, 2, 2, 3, 4), {"size": (1, 2, 3)}),
):
    name = "-".join(f"{k}={v}" for k, v in options.items()).replace(" ", "")
    case(
        f"interpolate{len(shape) - 2}d-{mode}-{name}-{shape[1]}",
        lambda F, x, mode=mode, options=options: F.interpolate(x, mode=mode, **options),
        normal(shape),
        lambda x, mode=mode, options=options: oracle.interpolate(x, mode=mode, **options),
        **RESIZE,
    )

for mode in ("bilinear", "nearest", "bicubic"):
    for padding_mode in ("zeros", "border", "reflection"):
        for align_corners in (False, True):
            for x, grid in (((2, 3, 4, 5), (2, 3, 2, 2)), ((1, 2, 2, 3, 4), (1, 2, 2, 3, 3))):
                if mode == "bicubic" and len(x) == 5:
                    continue
                options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
                case(
                    f"grid_sample{len(x) - 2}d-{mode}-{padding_mode}{'-corners' * align_corners}",
                    lambda F, x, grid, options=options: F.grid_sample(x, grid, **options),
                    normal(x, grid),
                    lambda x, grid, options=options: oracle.grid_sample(x, grid, **options),
                    rtol={"float32": 1e-5, "float64": 1e-12},
                    reason="the taps' weights come from coordinates computed in the array's precision",
                )
for name, function, shape, meaning in (
    (
        "pixel_shuffle",
        lambda F, x: F.pixel_shuffle(x, 2),
        (2, 12, 2, 3),
        lambda x: x.reshape(2, 3, 2, 2, 2, 3).transpose(0, 1, 4, 2, 5, 3).reshape(2, 3, 4, 6),
    ),
    (
        "pixel_unshuffle",
        lambda F, x: F.pixel_unshuffle(x, 2),
        (2, 3, 4, 6),
        lambda x: x.reshape(2, 3, 2, 2, 3, 2).transpose(0, 1, 3, 5, 2, 4).reshape(2, 12, 2, 3),
    ),
    (
        "channel_shuffle",
        lambda F, x: F.channel_shuffle(x, 3),
        (2, 6, 2, 3),
        lambda x: x.reshape(2, 3, 2, 2, 3).transpose(0, 2, 1, 3, 4).reshape(2, 6, 2, 3),
    ),
):
    case(name, function, normal(shape), meaning)

for name, options in (
    ("plain", {"kernel_size": 2}),
    ("options", {"kernel_size": (2, 3), "dilation": (2, 1), "padding": (1, 2), "stride": (1, 2)}),
):
    case(
        f"unfold-{name}",
        lambda F, x, options=options: F.unfold(x, **options),
        normal((2, 3, 5, 4)),
        lambda x, options=options: oracle.unfold(x, **options),
    )
case("fold-plain", lambda F, x: F.fold(x, (4, 3), 2), normal((2, 8, 6)), lambda x: oracle.fold(x, (4, 3), 2))
case(
    "fold-options",
    lambda F, x: F.fold(x, (5, 4), (2, 3), dilation=(2, 1), padding=(1, 2), stride=(1, 2)),
    normal((1, 12, 15)),
    lambda x: oracle.fold(x, (5, 4), (2, 3), (2, 1), (1, 2), (1, 2)),
)

# ------------------------------------------------------------------------------------------------- dropout
case("dropout-eval", lambda F, x: F.dropout(x, 0.3, False), normal((3, 4)), lambda x: x)
case("dropout-none", lambda F, x: F.dropout(x, 0.0, True), normal((3, 4)), lambda x: x)
case("dropout-all", lambda F, x: F.dropout(x, 1.0, True), normal((3, 4)), np.zeros_like, finite_only=True)
case(
    "dropout-downgrade-eval",
    lambda F, x: F.dropout(x, 0.3, False, mode="downgrade_in_infer"),
    normal((3, 4)),
    lambda x: 0.7 * x,
    torch=False,
)

# ------------------------------------------------------------------------------------------------- tensor
# arithmetic
for name, operator in (
    ("add", lambda a, b: a + b),
    ("sub", lambda a, b: a - b),
    ("mul", lambda a, b: a * b),
    ("div", lambda a, b: a / b),
    ("pow", lambda a, b: a**b),
):
    for a, b in (((3, 4), (3, 4)), ((2, 3, 4, 5), (3, 1, 1)), ((4, 1), (2, 1, 3)), ((2, 3), ())):
        case(
            f"{name}-{a}-{b}".replace(" ", ""), lambda F, a, b, f=operator: f(a, b), positive(a, b), operator
        )
for name, expression in (
    ("scalar-right", lambda x: ((x + 2) * 3 - 1) / 4),
    ("scalar-left", lambda x: 2 / (3 - 2 * x) + (1 + x)),
    ("square", lambda x: x**2),
    ("cube", lambda x: x**3),
    ("root", lambda x: x**0.5),
    ("inverse", lambda x: x**-1),
    ("negative", lambda x: -x),
    ("shared", lambda x: x * x + x),
):
    case(f"scalar-{name}", lambda F, x, f=expression: f(x), positive((2, 3, 2)), expression)
for name in ("exp", "log", "sqrt", "tanh"):
    case(
        f"tensor-{name}",
        lambda F, x, name=name: getattr(x, name)(),
        positive((2, 3, 4, 2)),
        getattr(np, name),
    )
case(
    "tensor-relu-sigmoid",
    lambda F, x: x.relu() + x.sigmoid(),
    normal((4, 5)),
    lambda x: oracle.relu(x) + oracle.sigmoid(x),
)
case("tensor-softmax", lambda F, x: x.softmax(dim=1), normal((4, 5)), lambda x: oracle.softmax(x, 1))
for name in ("sum", "mean", "max", "min"):
    case(f"{name}-all", lambda F, x, name=name: getattr(x, name)(), normal((2, 3, 4, 2)), getattr(np, name))
for name in ("sum", "mean"):
    for dim, keepdim in ((0, False), (-1, True), ((2, 3), False), ((0, 2, 3), True)):
        case(
            f"{name}-{dim}-{keepdim}".replace(" ", ""),
            lambda F, x, name=name, dim=dim, keep=keepdim: getattr(x, name)(dim=dim, keepdim=keep),
            normal((2, 3, 4, 2)),
            lambda x, name=name, dim=dim, keep=keepdim: getattr(np, name)(x, dim, keepdims=keep),
        )
for name in ("max", "min"):
    for part, dim in ((0, 1), (0, -1), (1, 2)):
        case(
            f"{name}-{('values', 'indices')[part]}-{dim}",
            lambda F, x, name=name, part=part, dim=dim: getattr(x, name)(dim=dim)[part],
            normal((2, 3, 4)),
            lambda x, name=name, part=part, dim=dim: (getattr(np, name), getattr(np, "arg" + name))[part](
                x, dim
            ),
            gradient=part == 0,
        )
for dim in (None, 0, 1):
    case(
        f"argmax-{dim}",
        lambda F, x, dim=dim: x.argmax(dim=dim),
        tied((5, 6)),
        lambda x, dim=dim: np.argmax(x, dim),
        gradient=False,
    )
for name, expression in (
    ("reshape", lambda x: x.reshape(4, 6)),
    ("flatten", lambda x: x.reshape(2, -1)),
    ("index", lambda x: x[1, :, 0]),
    ("slice", lambda x: x[:, 1:3, ::2]),
    ("ellipsis", lambda x: x[..., None, 1]),
    ("list", lambda x: x[[1, 0, 1]]),
):
    case(f"shape-{name}", lambda F, x, f=expression: f(x), normal((2, 4, 3)), expression)
case(
    "shape-view-permute",
    lambda F, x: x.permute(2, 0, 1).transpose(0, 1).unsqueeze(1).squeeze(1),
    normal((2, 4, 3)),
    lambda x: x.transpose(0, 2, 1),
)
case(
    "shape-permuted-conv",
    lambda F, x, w: F.conv2d(x.permute(0, 3, 1, 2), w),
    normal((1, 5, 4, 3), (2, 3, 2, 2)),
    lambda x, w: oracle.conv(x.transpose(0, 3, 1, 2), w),
)
case(
    "shape-flatten-linear",
    lambda F, x, w: F.linear(F.max_pool2d(x, 2).flatten(1), w),
    normal((2, 3, 4, 4), (5, 12)),
    lambda x, w: oracle.linear(oracle.max_pool(x, 2).reshape(2, -1), w),
)
