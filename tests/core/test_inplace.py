"""Changes in place: who sees them, what the tape makes of them, what is refused."""

from __future__ import annotations

import operator
import random

import conftest
import numpy as np
import pytest
from support.selection import every

import fastconv as fc
from fastconv import nn, optim
from fastconv.nn import functional as F
from fastconv.tape import Op

backend = conftest.op_backend

OPERATORS = {
    "add": (operator.iadd, lambda x: x + 3),
    "sub": (operator.isub, lambda x: x - 3),
    "mul": (operator.imul, lambda x: x * 3),
    "div": (operator.itruediv, lambda x: x / 3),
    "pow": (operator.ipow, lambda x: x**3),
}
METHODS = {
    "add_": (lambda t: t.add_(2, alpha=3), lambda x: x + 6),
    "sub_": (lambda t: t.sub_(2, alpha=3), lambda x: x - 6),
    "mul_": (lambda t: t.mul_(2), lambda x: x * 2),
    "div_": (lambda t: t.div_(2), lambda x: x / 2),
    "pow_": (lambda t: t.pow_(2), lambda x: x**2),
    "neg_": (lambda t: t.neg_(), lambda x: -x),
    "clamp_": (lambda t: t.clamp_(2, 4), lambda x: x.clip(2, 4)),
    "zero_": (lambda t: t.zero_(), lambda x: x * 0),
    "copy_": (lambda t: t.copy_(fc.tensor(7)), lambda x: x * 0 + 7),
    "fill_": (lambda t: t.fill_(7), lambda x: x * 0 + 7),
    **{f"i{name}": (lambda t, op=op: op(t, 3), want) for name, (op, want) in OPERATORS.items()},
}
#: Views of a 3 x 4 tensor, and the part of an array they look at.
VIEWS = {
    "row": lambda x: x[1],
    "rows": lambda x: x[1:],
    "element": lambda x: x[1, 2],
    "steps": lambda x: x[:, ::2],
    "transposed": lambda x: x.T,
    "flat": lambda x: x.reshape(12),
    "row of the transposed": lambda x: x.T[1],
    "folded row": lambda x: x[2].reshape(2, 2)[1],
}


def leaf(*values):
    return fc.tensor(list(values), dtype=fc.float64, requires_grad=True)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).uniform(1, 2, shape)


# ------------------------------------------------------------------------------------------------- who sees a
# change
@pytest.mark.parametrize("name", METHODS)
def test_an_op_in_place_changes_the_tensor_itself(name, backend):
    change, want = METHODS[name]
    x = fc.tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    alias, detached, data = x, x.detach(), x.data
    assert change(x) is x
    for seen in (x, alias, detached, data):
        np.testing.assert_allclose(
            seen.numpy(), want(np.arange(6, dtype=np.float32).reshape(2, 3)), rtol=1e-6
        )


@pytest.mark.parametrize("name", VIEWS)
def test_a_change_through_a_view_is_one_of_the_tensor(name, backend):
    x, want = fc.tensor(np.arange(12.0).reshape(3, 4)), np.arange(12.0).reshape(3, 4)
    view, part = VIEWS[name](x), VIEWS[name](want)
    part = want[1, 2:3].reshape(()) if name == "element" else part
    view += 100
    part += 100
    np.testing.assert_array_equal(x.numpy(), want)
    x *= 2
    np.testing.assert_array_equal(view.numpy(), 2 * part)


def test_rows_and_elements_of_a_loop_are_views(backend):
    x = fc.tensor(np.zeros((2, 3)))
    for i, row in enumerate(x):
        row += i
        for j, element in enumerate(row):
            element += 10 * j
    np.testing.assert_array_equal(x.numpy(), [[0, 10, 20], [1, 11, 21]])


def test_an_augmented_item_changes_the_item(backend):
    x = fc.tensor(np.zeros((2, 3)))
    x[0] += 1
    x[1, 2] -= 5
    x[:, 1:] *= 2
    x[fc.tensor(1), 0] += 7  # a tensor of one integer is an integer
    x[[0, 1], 1] += 0.5
    x.data += 100
    np.testing.assert_array_equal(x.numpy(), [[101, 102.5, 102], [107, 100.5, 90]])


def test_what_had_to_copy_is_no_view(backend):
    x = fc.tensor(np.arange(6.0).reshape(2, 3))
    for copied in (x.T.reshape(6), x[[0, 1]], x.T.contiguous(), x.clone(), x + 0, x.astype("float32")):
        copied += 100
    np.testing.assert_array_equal(x.numpy(), np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("name", ["numpy", "cpu"])
def test_numpy_arrays_share_the_memory(name):
    with fc.backend(name):
        a = np.zeros((2, 2), np.float32)
        x = fc.from_numpy(a)
        x[0] += 1
        x.T[1].sub_(3)
        np.testing.assert_array_equal(a, [[1, -2], [0, -3]])
        assert np.shares_memory(x.numpy(), a)
        a[:] = 5
        assert x.tolist() == [[5, 5], [5, 5]]


def test_overlapping_memory_is_read_before_it_is_written(backend):
    x = fc.tensor(np.arange(5.0))
    x[1:] += x[:-1]
    np.testing.assert_array_equal(x.numpy(), [0, 1, 3, 5, 7])
    x -= x[1:2]
    np.testing.assert_array_equal(x.numpy(), [-1, 0, 2, 4, 6])


def test_gradient_descent_by_hand(backend):
    """p -= lr * grad under no_grad: the same parameter object, its module and optimizer see it."""
    layer = nn.Linear(3, 2)
    sgd, before = optim.SGD(layer.parameters(), lr=0.1), layer.weight.numpy().copy()
    layer(fc.tensor(np.ones((1, 3), np.float32))).sum().backward()
    with fc.no_grad():
        for p in layer.parameters():
            p -= 0.5 * p.grad
        layer.weight *= 2
    np.testing.assert_allclose(layer.weight.numpy(), 2 * (before - 0.5), rtol=1e-6)
    assert sgd.param_groups[0]["params"][0] is layer.weight and isinstance(layer.weight, nn.Parameter)
    assert layer.weight.requires_grad and layer.weight.is_leaf


def test_gradients_scaled_in_place_scale_nothing_else(backend):
    """A first gradient may be what a backward pass returned: memory of its own, even where that repeats or
    was saved."""

    class Gives(Op):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save(w)
            return ctx.engine.reduce_fwd("sum", ctx.engine.binary_fwd("mul", x, w), (0,), False)

        @staticmethod
        def backward(ctx, gy):
            return ctx.saved[0], None

    x, w = fc.tensor(np.ones(3), requires_grad=True), fc.tensor(np.arange(3.0))
    Gives.apply(x, w).backward()
    x.grad *= 10
    np.testing.assert_array_equal(w.numpy(), [0, 1, 2])
    y = fc.tensor(np.ones(3), requires_grad=True)
    y.sum().backward()  # the gradient of a sum is one number, repeated
    y.grad[0] += 1
    np.testing.assert_array_equal(y.grad.numpy(), [2, 1, 1])


# ------------------------------------------------------------------------------------------------- the tape
def gradients(function, *arrays):
    """Gradients of a scalar function of float64 leaves, and those by central differences of its values."""
    leaves = [fc.tensor(a, requires_grad=True) for a in arrays]
    function(*leaves).backward()
    numeric = []
    for k, a in enumerate(arrays):
        g = np.zeros_like(a)
        for i in np.ndindex(a.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [b.copy() for b in arrays]
                moved[k][i] += step
                ends.append(function(*map(fc.tensor, moved)).item())
            g[i] = (ends[0] - ends[1]) / 2e-6
        numeric.append(g)
    for t, g in zip(leaves, numeric):
        np.testing.assert_allclose(0 if t.grad is None else t.grad.numpy(), g, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("other", ["number", "tensor", "itself"])
@pytest.mark.parametrize("view", ["all", *VIEWS])
@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_through_operators_in_place(name, view, other):
    """Of a tensor and of a view of it; the other operand tracked, too."""

    def function(x, w):
        y = x * w
        t = y if view == "all" else VIEWS[view](y)
        right = 1.5 if other == "number" else t if other == "itself" else VIEWS.get(view, lambda w: w)(w)
        t = OPERATORS[name][0](t, right)
        return (y * y).sum() + t.sum()

    gradients(function, numbers(3, 4), numbers(3, 4, seed=1))


def test_gradients_through_items_changed_in_a_loop(backend):
    """Y[i, j] += v, the cross-correlation of two matrices added up product by product."""
    X, K = numbers(3, 3), numbers(2, 2, seed=1)

    def corr2d(x, k, y):
        for i in range(2):
            for j in range(2):
                for u in range(2):
                    for v in range(2):
                        y[i, j] += x[i + u, j + v] * k[u, v]
        return y

    x, k = fc.tensor(X, requires_grad=True), fc.tensor(K, requires_grad=True)
    y = corr2d(x, k, fc.zeros(2, 2, dtype=fc.float64))
    want = corr2d(X, K, np.zeros((2, 2)))
    np.testing.assert_allclose(y.numpy(), want)
    (y * fc.tensor(np.array([[1.0, 2], [3, 4]]))).sum().backward()
    up = np.zeros((4, 4))
    up[1:3, 1:3] = [[1, 2], [3, 4]]
    np.testing.assert_allclose(k.grad.numpy(), corr2d(X, np.array([[1.0, 2], [3, 4]]), np.zeros((2, 2))))
    np.testing.assert_allclose(
        x.grad.numpy(),
        [[(up[i : i + 2, j : j + 2] * K[::-1, ::-1]).sum() for j in range(3)] for i in range(3)],
    )


def test_hand_worked_gradients_of_rows(backend):
    """d/dw of the sum over rows of (row * (i + 1) + w[i]) ** 2, with row = (w[i], 2 w[i])."""
    w = leaf(1.0, 2.0)
    y = w.reshape(2, 1) * fc.tensor(np.array([[1.0, 2]]))
    for i, row in enumerate(y):
        row *= i + 1
        row += w[i]
    assert y.tolist() == [[2, 3], [6, 10]]  # w[0] * (2, 3) and w[1] * (3, 5)
    (y**2).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), [2 * 1 * (4 + 9), 2 * 2 * (9 + 25)])


def test_views_taken_before_a_change_have_its_history(backend):
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    early = y[1:]
    y *= x
    assert early.tolist() == [4, 9]
    early.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 4, 6])


def test_a_plain_tensor_becomes_a_result(backend):
    w, sums = leaf(2.0, 3.0), fc.zeros(2, 2, dtype=fc.float64)
    row = sums[0]
    assert not row.requires_grad and row.is_leaf
    sums[1] += w
    assert sums.requires_grad and not sums.is_leaf and row.requires_grad  # all that look at the memory
    sums.add_(w, alpha=2)
    (sums * fc.tensor(np.array([[1.0, 2], [3, 4]]))).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), [2 + 9, 4 + 12])


def test_old_values_that_are_overwritten_carry_no_gradient(backend):
    for overwrite in (lambda t: t.zero_(), lambda t: t.fill_(2.0), lambda t: t.copy_(fc.ones(3))):
        x = leaf(1.0, 2.0, 3.0)
        y = x * 1
        overwrite(y)
        (y.sum() + x[0]).backward()
        np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 0])


def test_copy_takes_the_gradient_to_its_source(backend):
    x, y = leaf(1.0, 2.0), fc.zeros(2, 2)
    y.copy_(x)  # float64 into float32
    assert y.dtype == fc.float32
    (y * fc.tensor(np.array([[1, 2], [3, 4]], np.float32))).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4, 6])


def test_clamp_gradient_is_that_of_the_elements_inside_the_bounds_and_on_them(backend):
    x, low = leaf(-1.0, 0.0, 0.5, 1.0, 2.0), leaf(0.0)
    x.clamp(0, 1).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 1, 1, 1, 0])
    x.grad = None
    y = x * 1
    y.clamp_(low, 1.0)
    (y * 3).sum().backward()
    assert y.tolist() == [0, 0, 0.5, 1, 1]
    np.testing.assert_array_equal(x.grad.numpy(), [0, 3, 3, 3, 0])
    np.testing.assert_array_equal(low.grad.numpy(), [3])


def test_under_no_grad_and_through_data_only_values_change(backend):
    x = leaf(1.0, 2.0)
    y = x * 3
    with fc.no_grad():
        y += 1
        y[0] *= 2
    y.data[1] -= 1
    assert y.tolist() == [8, 6]
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3])


def test_index_arrays_may_change_after_their_use(backend):
    x = leaf(1.0, 2.0, 3.0)
    i, j = np.array([0, 2]), fc.tensor([1, 1])
    y = x[i].sum() + x[j].sum() * 10
    i[:] = 1
    j.zero_()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 20, 1])


PROGRAMS = range(40)


def random_program(seed, leaves, zeros, no_grad):
    """Views and changes in place in a random order; the tensors at the end and the leaves' gradients. The
    same code runs with PyTorch and fastconv."""
    draw, (w, v) = random.Random(seed), leaves
    tensors = [draw.choice([lambda: w * 1, lambda: w * v, lambda: (w * 2).T, lambda: zeros])()]
    views = [
        lambda t: t[draw.randrange(len(t))],
        lambda t: t[1:],
        lambda t: t[::2],
        lambda t: t.reshape(-1),
        lambda t: t.unsqueeze(0),
        lambda t: t.transpose(0, t.ndim - 1),
    ]
    changes = [
        lambda t, o: t.add_(o),
        lambda t, o: t.sub_(o, alpha=2),
        lambda t, o: t.mul_(o),
        lambda t, o: t.div_(o),
        lambda t, o: t.pow_(2),
        lambda t, o: t.neg_(),
        lambda t, o: t.clamp_(0.6, 3.0),
        lambda t, o: t.mul_(0.5),
        lambda t, o: operator.setitem(t, 0, o),
        lambda t, o: t.detach().mul_(1.25),
        lambda t, o: t[0].add_(t[-1]),
    ]
    for _ in range(draw.randint(4, 12)):
        i = draw.randrange(len(tensors))
        t = tensors[i]
        if t.ndim and draw.random() < 0.4:
            tensors.append(draw.choice(views)(t))
        elif t.ndim:
            other = draw.choice([v, v * 2, w * 1])[draw.randrange(3), draw.randrange(4)]
            draw.choice(changes)(t, other)
            if draw.random() < 0.2:
                with no_grad():
                    t *= 1.5
    loss = sum((t * (1 + k)).sum() for k, t in enumerate(tensors))
    if loss.requires_grad:
        loss.backward()
    return (
        [t.detach().cpu().numpy() for t in tensors],
        [np.zeros((3, 4)) if p.grad is None else p.grad.cpu().numpy() for p in leaves],
    )


@pytest.mark.full_on("cuda")
def test_random_programs_agree_with_pytorch(backend):
    """Whatever PyTorch runs gives the same values and gradients; what it refuses is not compared."""
    torch = pytest.importorskip("torch")
    compared = 0
    for seed in PROGRAMS:
        arrays = numbers(3, 4, seed=seed), numbers(3, 4, seed=seed + 1000)
        try:
            want = random_program(
                seed,
                [torch.tensor(a, requires_grad=True) for a in arrays],
                torch.zeros(3, 4, dtype=torch.float64),
                torch.no_grad,
            )
        except RuntimeError:
            continue
        got = random_program(
            seed, [fc.tensor(a, requires_grad=True) for a in arrays], fc.tensor(np.zeros((3, 4))), fc.no_grad
        )
        compared += 1
        for a, b in zip([*got[0], *got[1]], [*want[0], *want[1]], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11, err_msg=f"program {seed}")
    assert compared >= len(PROGRAMS) // 2


# ------------------------------------------------------------------------------------------------- what is
# refused
@pytest.mark.parametrize(
    "change",
    [
        lambda t: operator.iadd(t, 1),
        lambda t: t.mul_(2),
        lambda t: t.zero_(),
        lambda t: t.clamp_(0, 1),
        lambda t: t.neg_(),
        lambda t: operator.setitem(t, 0, 1),
        lambda t: t[0].add_(1),
        lambda t: t.T.div_(2),
        lambda t: t.reshape(4)[1].copy_(1),
    ],
)
def test_a_leaf_that_requires_gradients_is_refused_whole_and_in_part(change, backend):
    x = fc.tensor(np.ones((2, 2)), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"a (view of a )?leaf that requires gradients.*no_grad\(\)"):
        change(x)
    assert x.tolist() == [[1, 1], [1, 1]] and x.memory.version == 0
    with fc.no_grad():
        change(x)


def test_a_view_made_under_no_grad_is_refused_on_the_tape(backend):
    y = leaf(1.0, 2.0) * 1
    with fc.no_grad():
        view = y[0]
        view *= 2
    with pytest.raises(RuntimeError, match=r"mul_: .* made under no_grad\(\)"):
        view *= y[1]
    assert y.tolist() == [2, 2]


def test_a_function_that_returns_its_inputs_memory_is_not_followed():
    class Back(Op):
        @staticmethod
        def forward(ctx, x):
            return x[::-1]

        @staticmethod
        def backward(ctx, gy):
            return gy[::-1]

    y = Back.apply(leaf(1.0, 2.0) * 1)
    with pytest.raises(RuntimeError, match="shares its input's memory"):
        y += 1


#: Ops whose derivative needs x or the result, as the very array, in another shape or inside a tuple.
SAVED = {
    "mul": lambda x, w: x * w,
    "exp": lambda x, w: x.exp(),
    "a view": lambda x, w: x[:2] * w[:2],
    "matmul of vectors": lambda x, w: x.reshape(16) @ w.reshape(16),
    "softmax": lambda x, w: x.softmax(1),
    "layer norm": lambda x, w: F.layer_norm(x, (4,)),
    "group norm": lambda x, w: F.group_norm(x, 2),
    "batch norm": lambda x, w: F.batch_norm(x, None, None, training=True),
    "max": lambda x, w: x.max(dims=0),
    "batch norm, relu": lambda x, w: F.batch_norm(
        x, None, None, training=True, activation="relu", residual=w
    ),
    "linear": lambda x, w: F.linear(x.reshape(2, 2, 4), w),
    "conv": lambda x, w: F.conv1d(x.reshape(1, 4, 4), w.reshape(4, 4, 1)),
    "cross-entropy weights": lambda x, w: F.cross_entropy(w, fc.tensor([0, 1, 2, 3]), weight=x[0].detach()),
    "clamp": lambda x, w: x.clamp(1.2, 1.8),
    "pow": lambda x, w: x**w,
}


@pytest.mark.parametrize("name", every(SAVED, 2))
def test_backward_notices_a_change_of_what_was_saved(name, backend):
    x = fc.tensor(numbers(4, 4), requires_grad=True) * 1
    w = fc.tensor(numbers(4, 4, seed=1), requires_grad=True)
    y = SAVED[name](x, w)
    SAVED[name](x, w).sum().backward()
    with fc.no_grad():
        x[0, 0] += 1
        y += 1
    with pytest.raises(RuntimeError, match="was changed in place"):
        y.sum().backward()


#: Ops whose derivative needs neither x nor the result.
FREE = {
    "add": lambda x: x + 1,
    "mul by a number": lambda x: x * 3,
    "div by a tensor": lambda x: x / fc.tensor(2.0),
    "sum": lambda x: x.sum(0),
    "reshape": lambda x: x.reshape(16) * 2,
    "cat": lambda x: fc.cat([x, x]),
    "conv": lambda x: F.conv1d(x.reshape(1, 4, 4), fc.tensor(numbers(4, 4, 1))),
}


@pytest.mark.parametrize("name", FREE)
def test_backward_does_not_mind_a_change_of_what_it_does_not_need(name, backend):
    want = None
    for change in (False, True):
        leaf = fc.tensor(numbers(4, 4), requires_grad=True)
        x = leaf * 1
        y = FREE[name](x)
        with fc.no_grad():
            if change:
                x += 1
                y *= 2
        y.sum().backward()
        want = leaf.grad.numpy() if want is None else want
        np.testing.assert_array_equal(leaf.grad.numpy(), want)


@pytest.mark.parametrize("shape", [(3, 2), (1, 2), (2, 2)])
def test_broadcasting_must_not_enlarge_the_tensor(shape, backend):
    x = fc.ones(2) if shape != (2, 2) else fc.ones(2, 1)
    fits = f"add_: the result has shape .*{'x'.join(map(str, shape))}.*fit"
    with pytest.raises(ValueError, match=fits):
        x += fc.ones(*shape)
    with pytest.raises(ValueError, match="shape|fit"):
        x.copy_(fc.ones(3, 4))
    assert x.numpy().tolist() in ([1, 1], [[1], [1]])
    y = fc.ones(2, 3)
    y += fc.tensor(np.arange(3, dtype=np.float32))
    assert y.tolist() == [[1, 2, 3]] * 2


@pytest.mark.parametrize("value", [(3,), (2, 3), (3, 1), (1, 2, 3)])
def test_an_item_takes_only_what_broadcasts_to_it(value, backend):
    x = fc.zeros(2, 2)
    with pytest.raises(ValueError, match=r"shape|fit"):
        x[:, :] = fc.ones(*value)
    assert x.tolist() == [[0, 0], [0, 0]]
    x[0] = fc.ones(1, 2)  # leading ones do not count
    assert x.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    "a, op, b, want",
    [
        ("float32", "iadd", "float64", "float32"),
        ("float32", "imul", "int64", "float32"),
        ("float32", "iadd", 0.1, "float32"),
        ("float64", "isub", "float32", "float64"),
        ("int64", "iadd", 2, "int64"),
        ("int64", "imul", "bool", "int64"),
        ("int64", "iadd", 0.5, None),
        ("int64", "itruediv", 2, None),
        ("int64", "iadd", "float32", None),
        ("bool", "iadd", 1, None),
        ("int32", "iadd", "int64", "int32"),
    ],
)
def test_the_dtype_stays_and_must_be_able_to_hold_the_result(a, op, b, want, backend):
    """The table is PyTorch's, asked below."""
    x, y = fc.ones(2, dtype=a), fc.ones(2, dtype=b) if isinstance(b, str) else b
    if want is None:
        with pytest.raises(RuntimeError, match=rf"the result is \w+, which a tensor of {a} cannot hold"):
            getattr(operator, op)(x, y)
        assert x.numpy().tolist() == [1, 1]
    else:
        assert getattr(operator, op)(x, y).dtype == want
    try:
        import torch
    except ImportError:
        return
    x, y = (
        torch.ones(2, dtype=getattr(torch, a)),
        torch.ones(2, dtype=getattr(torch, b)) if isinstance(b, str) else b,
    )
    try:
        assert str(getattr(operator, op)(x, y).dtype) == f"torch.{want}"
    except RuntimeError:
        assert want is None


def test_assignment_converts_to_the_dtype(backend):
    x = fc.tensor([1, 2])
    x.fill_(1.75)
    assert x.tolist() == [1, 1] and x.dtype == fc.int64
    x.copy_(fc.tensor([2.5, -3.5]))
    assert x.tolist() == [2, -3]


@pytest.mark.parametrize(
    "array", [np.broadcast_to(np.float32(1), (2, 2)), np.frombuffer(bytes(16), np.float32).reshape(2, 2)]
)
def test_read_only_memory_is_refused(array):
    for change in (
        lambda t: operator.iadd(t, 1),
        lambda t: t.zero_(),
        lambda t: t[0].mul_(2),
        lambda t: operator.setitem(t, 0, 1),
    ):
        with pytest.raises(
            RuntimeError,
            match=r"(add_|mul_|zero_|item assignment): the tensor's memory is read-only.*\.clone\(\)",
        ):
            change(fc.from_numpy(array))


def test_unknown_operands_are_a_type_error(backend):
    x = fc.ones(2)
    for change in (lambda: operator.iadd(x, "one"), lambda: x.mul_(None), lambda: operator.ipow(x, object())):
        with pytest.raises(TypeError, match="unsupported operand type|mul: other must be a Tensor"):
            change()
    with pytest.raises(ValueError, match="clamp: give min, max or both"):
        x.clamp_()


# ------------------------------------------------------------------------------------------------- who else
# must notice
def test_an_optimized_net_notices_weights_changed_in_place():
    net = fc.optimize_for_inference(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)))
    x = fc.rand(1, 1, 8, 8)
    first = [net(x).numpy() for _ in range(3)][-1]
    for change in (lambda w: w.mul_(2), lambda w: w[0].add_(1), lambda w: w.data.T.sub_(0.5)):
        last = next(p for p in net.parameters() if p.ndim == 4)
        change(last)
        again = [net(x).numpy() for _ in range(3)]
        assert np.abs(again[0] - first).max() > 1e-6
        np.testing.assert_array_equal(again[1], again[0])
        np.testing.assert_array_equal(again[2], again[0])
        first = again[0]


def test_summary_and_profile_of_a_net_that_works_in_place():
    class Block(nn.Module):
        def __init__(self, in_place):
            super().__init__()
            self.conv, self.in_place = nn.Conv2d(2, 2, 3, padding=1), in_place

        def forward(self, x):
            y = x * 1
            z = self.conv(x)
            if self.in_place:
                y += z
                y[0] *= 2
            else:
                y = y + z
            return y

    plain, changed = (fc.summary(nn.Sequential(Block(p), Block(p)), (1, 2, 8, 8)) for p in (False, True))
    assert [r.receptive_field for r in plain.layers] == [r.receptive_field for r in changed.layers]
    assert plain.layers[-1].receptive_field == 5
    assert fc.profile(Block(True), fc.rand(1, 2, 8, 8))


def test_an_optimized_net_that_changes_a_result_of_a_layer_in_place():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x):
            y = self.conv(x)
            y *= 2
            y[0] += 1
            z = self.conv(x)
            return self.norm(y) + self.norm(z)

    net, x = Net().eval(), fc.rand(2, 1, 5, 5)
    with fc.no_grad():
        np.testing.assert_allclose(
            fc.optimize_for_inference(net)(x).numpy(), net(x).numpy(), rtol=1e-5, atol=1e-6
        )


# -------------------------------------------------------------------------------------------------
# channels-last memory
def images():
    """A tensor whose memory runs over channels first, as the results of convolutions do; and its values."""
    values = np.arange(48.0).reshape(2, 3, 2, 4)
    memory = np.ascontiguousarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    x = fc.tensor(memory)
    assert not x.numpy().flags.c_contiguous
    return x, values


#: Views that PyTorch, whose images lie in logical order, makes without a copy.
FLAT = {
    "all": lambda x: x.reshape(-1),
    "rows": lambda x: x.reshape(6, -1),
    "row": lambda x: x.reshape(2, -1)[1],
    "of an image": lambda x: x[1].reshape(-1),
    "twice": lambda x: x.reshape(2, -1).reshape(6, 8)[2:4],
    "columns": lambda x: x.reshape(6, 8).T[3],
}


@pytest.mark.parametrize("name", FLAT)
def test_a_change_through_a_flat_view_of_images_is_one_of_the_images(name, backend):
    x, want = images()
    flat, other, part = FLAT[name](x), x.reshape(-1), FLAT[name](want)
    flat *= 3
    part *= 3
    np.testing.assert_array_equal(flat.numpy(), part)
    np.testing.assert_array_equal(x.numpy(), want)
    np.testing.assert_array_equal(other.numpy(), want.reshape(-1))
    x[1] += 1
    want[1] += 1
    np.testing.assert_array_equal(flat.numpy(), part)
    np.testing.assert_array_equal((flat + 0).numpy(), part)
    flat.data[...] = 5
    part[...] = 5
    np.testing.assert_array_equal(x.numpy(), want)


@pytest.mark.parametrize("name", FLAT)
def test_autograd_follows_changes_through_flat_views_of_images(name, backend):
    torch = pytest.importorskip("torch")
    a, values = images()
    b = torch.tensor(values, requires_grad=True)
    x, y = a.requires_grad_() * 1, b * 1
    assert not x.numpy().flags.c_contiguous
    for t in (x, y):
        before = FLAT[name](t)
        view = FLAT[name](t)
        view *= 2
        t[0] += 3
        view += before
    for t in (x, y):
        (t * t).sum().backward()
    np.testing.assert_allclose(x.numpy(), y.detach().numpy())
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy())


def test_parameters_are_changed_through_flat_views(backend):
    conv = nn.Conv2d(2, 3, 3)
    with fc.no_grad():
        conv.weight.view(3, -1)[1].zero_()
        for row in conv.weight.view(3, -1)[2:]:
            row.fill_(2)
    weight = conv.weight.numpy()
    assert (weight[0] != 0).all() and (weight[1] == 0).all() and (weight[2] == 2).all()
    with pytest.raises(RuntimeError, match="a view of a leaf"):
        conv.weight.view(-1)[0] = 1


@pytest.mark.parametrize(
    "reshaped",
    [
        lambda x: x.permute(0, 2, 3, 1).reshape(-1),
        lambda x: x.permute(0, 2, 3, 1).reshape(2, 4, 6),
        lambda x: x[:, 1:].reshape(-1),
        lambda x: x.permute(1, 0, 2, 3).reshape(3, -1),
    ],
)
def test_a_reshape_that_pytorch_copies_is_no_view(reshaped, backend):
    x, want = images()
    flat = reshaped(x)
    flat += 1
    np.testing.assert_array_equal(x.numpy(), want)
    np.testing.assert_array_equal(flat.numpy(), reshaped(fc.tensor(want)).numpy() + 1)


def test_a_view_made_under_no_grad_is_not_changed_on_the_tape(backend):
    x = leaf(1, 2)
    y = x * 2
    with fc.no_grad():
        view = y[0]
        view *= 1  # of values only
    with pytest.raises(RuntimeError, match="made under no_grad"):
        view *= 3
