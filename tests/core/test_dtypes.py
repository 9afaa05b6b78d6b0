"""The types of results and gradients: PyTorch's promotion, as a table against PyTorch itself; arrays from
outside."""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest
from conftest import PTX, op_backend
from support.selection import every, full

import fastconv as fc
from fastconv import nn, optim
from fastconv.nn import functional as F

backend = op_backend
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}


def number(dtype, value):
    """A plain Python number of the category of ``dtype``."""
    return {"b": bool, "u": int, "i": int, "f": float}[np.dtype(dtype).kind](value)


def operands(kind, dtype, values=(1, 2, 3)):
    """The operand as fastconv takes it, and as PyTorch does."""
    torch = pytest.importorskip("torch")
    a = np.array(values[1] if "0-d" in kind else values, dtype)
    if kind in ("tensor", "0-d"):
        return fc.tensor(a), torch.tensor(a)
    if kind in ("array", "array 0-d"):  # counts as a tensor
        return a, torch.tensor(a)
    value = number(dtype, values[1])
    return (np.dtype(dtype).type(value) if kind == "numpy scalar" else value), value


def both(function, ours, theirs):
    """The two results; an error is None."""
    results = []
    for arguments in (ours, theirs):
        try:
            results.append(function(*arguments))
        except (TypeError, ValueError, RuntimeError, NotImplementedError, OverflowError) as e:
            results.append(e)
    return results


def only_pytorch_refuses(name, a, b):
    """A bool less a number, and powers of bools, have one meaning; only the difference of two bools has
    none."""
    return (name == "sub" and (a == "bool") != (b == "bool")) or (name == "pow" and a == b == "bool")


def check_pair(name, left, a, right, b):
    (p, tp), (q, tq) = operands(left, a), operands(right, b, (3, 2, 1))
    got, want = both(OPERATORS[name], (p, q), (tp, tq))
    case = f"{name}: {left} {a}, {right} {b}"
    if isinstance(want, Exception):
        if not only_pytorch_refuses(name, a, b):
            assert isinstance(got, Exception), f"{case}: {got} instead of {want}"
        return
    assert not isinstance(got, Exception), f"{case}: {got}"
    assert str(got.dtype) == str(want.dtype).removeprefix("torch."), case
    np.testing.assert_allclose(
        got.numpy().astype(float),
        want.double().numpy(),
        rtol=2e-3 if "float16" in str(got.dtype) else 1e-6,
        err_msg=case,
    )


ROLES = ["tensor", "0-d", "number", "numpy scalar", "array", "array 0-d"]


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("engine", ["numpy", "cpu"])
@pytest.mark.parametrize("left", ["tensor", "0-d"])
@pytest.mark.parametrize("right", ROLES)
@pytest.mark.parametrize("name", every(OPERATORS, 3))
def test_promotion_is_pytorchs(name, left, right, engine):
    """Every pair of types, in every role: the result's type and its values; on both sides of the operator."""
    with fc.backend(engine):
        for a, b in itertools.product(DTYPES, DTYPES):
            check_pair(name, left, a, right, b)
            if right not in ("array", "array 0-d", "numpy scalar"):  # their own operators would run
                check_pair(name, right, b, left, a)


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("name", OPERATORS)
def test_promotion_on_every_engine(name, backend):
    """A pair of each kind; the simulator is too slow for all of them."""
    for (left, a), (right, b) in (
        (("tensor", "float32"), ("tensor", "int64")),
        (("tensor", "uint8"), ("tensor", "int8")),
        (("tensor", "bool"), ("tensor", "bool")),
        (("tensor", "bool"), ("number", "int64")),
        (("tensor", "int32"), ("number", "float64")),
        (("tensor", "float32"), ("0-d", "float64")),
        (("tensor", "int64"), ("0-d", "float64")),
        (("tensor", "int16"), ("tensor", "int16")),
        (("tensor", "uint8"), ("0-d", "int64")),
        (("tensor", "float32"), ("numpy scalar", "float64")),
        (("tensor", "int64"), ("array", "float32")),
        (("tensor", "int32"), ("tensor", "int64")),
    ):
        check_pair(name, left, a, right, b)
        if right in ("tensor", "0-d", "number"):
            check_pair(name, right, b, left, a)


@pytest.mark.parametrize("a", DTYPES)
def test_one_operand(a, backend):
    """Functions of integers are float32; negation, absolute value and relu stay; sums are int64."""
    torch = pytest.importorskip("torch")
    if PTX and backend == "cuda" and a == "float16":
        pytest.skip("the machine has no float16")
    x = np.array([1, 2, 4], a)
    for name in ("exp", "log", "sqrt", "sigmoid", "tanh", "relu", "neg", "abs", "sum", "max", "min"):
        call = {"neg": operator.neg, "abs": abs}.get(name, operator.methodcaller(name))
        got, want = both(call, (fc.tensor(x),), (torch.tensor(x),))
        if isinstance(want, Exception):
            assert isinstance(got, Exception) or name == "abs", name
            continue
        assert str(got.dtype) == str(want.dtype).removeprefix("torch."), name
        np.testing.assert_allclose(got.numpy().astype(float), want.double().numpy(), rtol=2e-3, err_msg=name)
    assert fc.tensor(x).mean().dtype == (a if "float" in a else "float32")  # PyTorch has no mean of integers


@pytest.mark.parametrize("a", ["float32", "float64", "int64", "int32"])
def test_matrix_products_of_two_types(a, backend):
    for b in ("float32", "float64", "int64", "uint8"):
        x, y = np.arange(6).reshape(2, 3).astype(a), np.arange(12).reshape(3, 4).astype(b)
        z = fc.tensor(x) @ fc.tensor(y)
        assert z.dtype == (fc.tensor(x[0]) * fc.tensor(y[:, 0])).dtype
        np.testing.assert_array_equal(z.numpy(), x.astype(int) @ y.astype(int))


@pytest.mark.parametrize("dtype", ["float16", "uint8", *full("int64")])
def test_many_elements_of_a_type_without_kernels(dtype):
    """Beyond the sizes from which the cpu backend has kernels of its own, which are for float32 and
    float64."""
    x = (np.arange(40_000).reshape(200, 200) % 3).astype(dtype)
    with fc.backend("cpu"):
        t = fc.tensor(x)
        np.testing.assert_array_equal((t + t * 2).numpy(), 3 * x)
        np.testing.assert_array_equal((t @ t).numpy(), x @ x)
        np.testing.assert_allclose(t.sum().item(), x.sum(dtype=float), rtol=1e-3)
        np.testing.assert_array_equal(t.max(1)[0].numpy(), x.max(1))
        np.testing.assert_array_equal(F.pad(t, (1, 1)).numpy(), np.pad(x, ((0, 0), (1, 1))))
        assert t.exp().dtype == ("float16" if dtype == "float16" else "float32")


@pytest.mark.parametrize("join", ["cat", "stack"])
def test_joining_promotes(join, backend):
    torch = pytest.importorskip("torch")
    types = [d for d in DTYPES if not (PTX and d == "float16")]  # the machine has none
    for a, b in itertools.product(types, types):
        x, y = np.array([1, 0], a), np.array([1, 1], b)
        got = getattr(fc, join)([fc.tensor(x), fc.tensor(y)])
        want = getattr(torch, join)([torch.tensor(x), torch.tensor(y)])
        assert str(got.dtype) == str(want.dtype).removeprefix("torch."), (a, b)
        np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_an_integer_beyond_the_type(backend):
    """Arithmetic is modulo the type's range, as PyTorch's; comparisons are those of the numbers as
    written."""
    x = fc.tensor(np.array([1, 44, 100], np.int8))
    np.testing.assert_array_equal((x + 300).numpy(), [45, 88, -112])
    assert (x + 300).dtype == np.int8
    assert not (x == 300).numpy().any() and (x < 300).numpy().all() and (x > -300).numpy().all()
    np.testing.assert_array_equal(x.clamp(-300, 300).numpy(), x.numpy())
    u = fc.tensor(np.array([0, 255], np.uint8))
    np.testing.assert_array_equal((u + -1).numpy(), [255, 254])
    assert not (u == -1).numpy().any() and not (u < -1).numpy().any()
    assert not (u == fc.tensor(256)).numpy().any()
    with pytest.raises(
        OverflowError, match="add: 1180591620717411303424 is beyond every number of type int64"
    ):
        fc.tensor([1]) + 2**70


def test_comparisons_of_large_integers_are_exact(backend):
    n = 2**53
    a = fc.tensor(np.array([n, n + 1, -n - 1]))
    np.testing.assert_array_equal((a == n).numpy(), [True, False, False])
    np.testing.assert_array_equal((a > fc.tensor(np.array(n))).numpy(), [False, True, False])
    b = fc.tensor(np.array([2**24 + 1]))  # float32 has no such number
    assert not (b == 2.0**24).numpy().any() and not (b == fc.tensor([2.0**24])).numpy().any()
    assert (b > fc.tensor([2.0**24])).numpy().all()


def test_powers_of_integers_are_exact_and_refused_where_they_are_fractions(backend):
    x = fc.tensor(np.array([3, -3, 0, 1, -1]))
    np.testing.assert_array_equal((x**39).numpy(), [3**39, -(3**39), 0, 1, -1])
    np.testing.assert_array_equal((x ** fc.tensor([-1, -2, -1, -3, -3])).numpy()[[0, 1, 3, 4]], [0, 0, 1, -1])
    np.testing.assert_array_equal((2 ** fc.tensor([0, 1, 62])).numpy(), [1, 2, 2**62])
    with pytest.raises(ValueError, match="pow: an integer has no integer power of -1; .*astype"):
        x**-1
    np.testing.assert_allclose((fc.tensor([2, 4]) ** -1.0).numpy(), [0.5, 0.25])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda t: t + "a", "'Tensor' and 'str'"),
        (lambda t: None * t, "'NoneType' and 'Tensor'"),
        (lambda t: t - 1j, "'Tensor' and 'complex'"),
        (lambda t: t / object(), "'Tensor' and 'object'"),
        (lambda t: t.clamp(min="a"), "maximum: operands must be Tensors, arrays or real numbers, got str"),
        (
            lambda t: t + np.ones(2, complex),
            "add: operand must hold real numbers .* complex128 2; pass .real",
        ),
        (lambda t: (t > 0) - (t > 0), "sub: there is no difference of two bools; .*astype"),
        (lambda t: -(t > 0), "neg: expected numbers, got bool; .*astype"),
        (lambda t: (t > 0) @ (t > 0), "matmul: expected numbers, got bool"),
        (lambda t: t.astype(np.uint64) + t.astype(np.int64), "add: no integer type holds both"),
    ],
)
def test_what_has_no_common_type_is_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call(fc.tensor([1.0, 2.0]))


# ------------------------------------------------------------------------------------------------- gradients
GRADIENTS = {
    "integer mask": lambda x: x * fc.tensor([1, 0, 1]),
    "bool mask": lambda x: x * (x > 0),
    "integers over it": lambda x: fc.tensor([1, 2, 3]) / x,
    "float64 0-d": lambda x: x * fc.tensor(2.0, dtype=fc.float64),
    "float64 tensor": lambda x: x + fc.tensor([1.0, 2.0, 3.0], dtype=fc.float64),
    "float64 array": lambda x: x - np.arange(3.0),
    "float64 exponent": lambda x: x ** np.array([1.0, 2.0, 0.5]),
    "float64 product of several": lambda x: ((x * np.arange(3.0)) ** 2).exp(),
    "matmul": lambda x: x.reshape(1, 3) @ np.ones((3, 2)),
    "cat": lambda x: fc.cat([x, fc.ones(2, dtype=fc.float64)]),
    "stack": lambda x: fc.stack([fc.ones(3, dtype=fc.float64), x]),
    "cast": lambda x: x.astype(fc.float64) * 3,
    "index": lambda x: x[[0, 0, 2]] * np.float64(2),
    "mean": lambda x: (x * np.arange(3.0)).mean(),
    "maximum of dim": lambda x: (x * np.arange(3.0)).max(0)[0],
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_have_the_type_of_their_leaf(name, backend):
    x = fc.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = GRADIENTS[name](x)
    y.sum().backward()
    assert x.grad.dtype == fc.float32 and x.grad.shape == (3,)
    (x * 2).sum().backward()  # and what is added to it
    assert x.grad.dtype == fc.float32


def test_comparisons_and_integers_have_no_derivative(backend):
    x = fc.tensor([1.0, -2.0, 3.0], requires_grad=True)
    for y in (x > 0, x == x, x.astype(fc.int64), x.argmax()):
        assert not y.requires_grad
    (x * (x > 0) * x.long()).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 3])


def test_gradients_of_values_assigned_to_another_type(backend):
    value = fc.tensor([1.0, 2.0], dtype=fc.float64, requires_grad=True)
    y = fc.zeros(3)
    y[1:] = value
    (y * y).sum().backward()
    assert value.grad.dtype == fc.float64
    np.testing.assert_array_equal(value.grad.numpy(), [2, 4])


@pytest.mark.parametrize("engine", ["numpy", "cpu"])
def test_mixed_gradients_are_pytorchs(engine):
    torch = pytest.importorskip("torch")
    with fc.backend(engine):
        for a, b in itertools.product(("float32", "float64"), DTYPES):
            for name in ("add", "sub", "mul", "div", "pow"):
                if name in ("sub", "pow") and b == "bool":
                    continue  # PyTorch refuses the one, and fails in the other's backward
                p, q = np.array([1, 2, 3], a), np.array([3, 1, 2], b)
                ours, theirs = fc.tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
                OPERATORS[name](ours, fc.tensor(q)).sum().backward()
                OPERATORS[name](theirs, torch.tensor(q)).sum().backward()
                assert ours.grad.dtype == a
                np.testing.assert_allclose(
                    ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-6, err_msg=f"{name} {a} {b}"
                )


@pytest.mark.parametrize("exponent", [0, 0.0, 1, 2, 3, 0.5, 1.5, -1, -0.5])
def test_gradient_of_a_power_at_zero(exponent, backend):
    torch = pytest.importorskip("torch")
    for values in ([0.0, 2.0, 1.0], [0.0] * 9000):  # few and many: other kernels
        x, t = fc.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
        y = x**exponent
        y.sum().backward()
        (t**exponent).sum().backward()
        np.testing.assert_allclose(y.numpy(), (t**exponent).detach().numpy(), rtol=1e-6)
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-6)


def test_gradients_of_powers_of_tensors_are_pytorchs(backend):
    torch = pytest.importorskip("torch")
    values = [0.0, 0.5, 1.0, 2.0, -1.0, -2.0]
    a, b = (np.array(v, np.float32) for v in zip(*itertools.product(values, values)))
    ours = [fc.tensor(v, requires_grad=True) for v in (a, b)]
    theirs = [torch.tensor(v, requires_grad=True) for v in (a, b)]
    (ours[0] ** ours[1]).sum().backward()
    (theirs[0] ** theirs[1]).sum().backward()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-5)
    for base in (0, 0.0, 2, 1.5):
        e, f = fc.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
        (base**e).sum().backward()
        (base**f).sum().backward()
        np.testing.assert_allclose(e.grad.numpy(), f.grad.numpy(), rtol=1e-5)


# ------------------------------------------------------------------------------------------------- extrema
EXTREMA = {
    "uint8": [[3, 0, 255], [0, 0, 7]],
    "int8": [[-128, 127, 0], [5, -128, -128]],
    "int64": [[-(2**63), 2**63 - 1, 0], [1, 1, 1]],
    "bool": [[True, False, True], [False, False, False]],
    "float32": [[1.5, np.nan, -np.inf], [np.nan, np.nan, 0]],
    "float64": [[-0.0, 0.0, 2.0], [np.inf, -np.inf, -np.inf]],
}


@pytest.mark.parametrize("dtype", EXTREMA)
@pytest.mark.parametrize("name", ["min", "max"])
def test_extremum_along_a_dimension(name, dtype, backend):
    """Not by negation, which unsigned numbers, bools and the least integers do not have. NaN wins, then the
    first."""
    x = np.array(EXTREMA[dtype], dtype)
    where = getattr(np, f"arg{name}")
    for dim in (0, 1):
        values, indices = getattr(fc.tensor(x), name)(dim)
        np.testing.assert_array_equal(indices.numpy(), where(x, dim))
        np.testing.assert_array_equal(values.numpy(), getattr(np, name)(x, dim))
        assert values.dtype == dtype
        np.testing.assert_array_equal(getattr(fc.tensor(x), f"arg{name}")(dim).numpy(), where(x, dim))
    assert getattr(fc.tensor(x), f"arg{name}")().item() == where(x)
    np.testing.assert_array_equal(getattr(fc.tensor(x), name)().numpy(), getattr(np, name)(x))


# ------------------------------------------------------------------------------------------------- arrays
# from outside
def big_endian(a):
    return a.astype(a.dtype.newbyteorder(">"))


def unaligned(a):
    memory = np.empty(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def field(a):
    """One field of records: strides that are no multiple of the item."""
    records = np.zeros(a.shape, [("flag", "u1"), ("x", a.dtype)])
    records["x"] = a
    return records["x"]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def backwards(a):
    return a[..., ::-1].copy()[..., ::-1]


FOREIGN = [big_endian, unaligned, field]
LAYOUTS = [*FOREIGN, read_only, backwards]
IMAGE = np.arange(2 * 3 * 6 * 5, dtype=np.float32).reshape(2, 3, 6, 5) / 7
WEIGHT = np.linspace(-1, 1, 4 * 3 * 9, dtype=np.float32).reshape(4, 3, 3, 3)


@pytest.mark.parametrize("change", LAYOUTS, ids=lambda f: f.__name__)
def test_arrays_at_every_door(change, backend, tmp_path):
    """The values count, however an array holds them; nothing outside is changed."""
    image, weight, labels = change(IMAGE), change(WEIGHT), change(np.array([1, 3]))
    row = change(IMAGE[0, 0, 0])

    def same(got, want):
        got = got.numpy() if isinstance(got, fc.Tensor) else got
        assert got.dtype == want.dtype and got.dtype.isnative and got.flags.aligned
        np.testing.assert_allclose(got, want, rtol=1e-6)

    for make in (fc.Tensor, fc.tensor, fc.as_tensor, nn.Parameter):
        same(make(image), IMAGE)
    t = fc.tensor(IMAGE)
    for got, want in (
        (t + row, IMAGE + IMAGE[0, 0, 0]),
        (row * t, IMAGE * IMAGE[0, 0, 0]),
        (t > row, IMAGE > IMAGE[0, 0, 0]),
        (fc.cat([image, t]), np.concatenate([IMAGE, IMAGE])),
        (fc.stack([row, row]), np.stack([IMAGE[0, 0, 0]] * 2)),
        (t[..., change(np.array([0, 2]))], IMAGE[..., [0, 2]]),
        (t @ change(IMAGE[0, 0].T.copy()), IMAGE @ IMAGE[0, 0].T),
    ):
        same(got, want)
    want = F.conv2d(IMAGE, WEIGHT, np.ones(4, np.float32)).numpy()
    same(F.conv2d(image, weight, change(np.ones(4, np.float32))), want)
    same(F.relu(image), np.maximum(IMAGE, 0))
    same(F.pad(image, (1, 1)), np.pad(IMAGE, ((0, 0), (0, 0), (0, 0), (1, 1))))
    same(F.one_hot(labels, 4), np.eye(4, dtype=np.int64)[[1, 3]])
    logits = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)
    same(F.cross_entropy(change(logits), labels), F.cross_entropy(logits, np.array([1, 3])).numpy())
    layer = nn.Conv2d(3, 4, 3)
    layer.load_state_dict({"weight": weight, "bias": change(np.ones(4, np.float32))})
    same(layer(image), want)
    layer.weight.data = weight
    same(layer.weight, WEIGHT)
    t = fc.zeros(2, 3, 6, 5)
    t[...] = image
    same(t, IMAGE)
    x = fc.ones(2, 3, 6, 5, requires_grad=True)
    (x * 2).backward(image)
    same(x.grad, 2 * IMAGE)
    x.grad = image
    optim.SGD([x], lr=1.0).step()
    same(x.detach(), 1 - IMAGE)
    for name in ("a.npz", "a.safetensors"):
        fc.save({"image": image, "labels": labels}, tmp_path / name)
        loaded = fc.load(tmp_path / name)
        same(loaded["image"], IMAGE)
        same(loaded["labels"], np.array([1, 3]))
    batch, y = next(iter(fc.data.DataLoader((image, labels), batch_size=2)))
    same(batch, IMAGE)
    same(y, np.array([1, 3]))
    np.testing.assert_array_equal(image.astype("float32"), IMAGE)


@pytest.mark.parametrize("change", FOREIGN, ids=lambda f: f.__name__)
def test_memory_that_cannot_be_shared(change):
    """from_numpy promises the array's own memory, and running statistics are written to it."""
    with pytest.raises(
        ValueError, match=r"from_numpy: .*foreign byte order or unaligned.*fc\.tensor\(array\)"
    ):
        fc.from_numpy(change(IMAGE))
    mean = change(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="batch_norm: running_mean is changed in place"):
        F.batch_norm(IMAGE, mean, np.ones(3, np.float32), training=True)
    F.batch_norm(IMAGE, mean, change(np.ones(3, np.float32)), training=False)  # only read


def test_read_only_memory_is_read_and_not_written(backend):
    a = read_only(np.ones(3, np.float32))
    t = fc.from_numpy(a)
    np.testing.assert_array_equal((t * 2).numpy(), [2, 2, 2])
    if fc.get_backend() != "cuda":  # there it is a copy
        with pytest.raises(RuntimeError, match="item assignment: the tensor's memory is read-only"):
            t[0] = 5
        with pytest.raises(ValueError, match="SGD: a parameter is changed in place, .*read-only"):
            optim.SGD([t.requires_grad_()], lr=0.1)
        with pytest.raises(ValueError, match="batch_norm: running_var is changed in place, .*read-only"):
            F.batch_norm(IMAGE, np.zeros(3, np.float32), a, training=True)
    np.testing.assert_array_equal(a, [1, 1, 1])


@pytest.mark.parametrize(
    "scalar", [np.float32(3), np.float64(3), np.int64(3), np.uint8(3), np.bool_(True), np.array(3.0)]
)
def test_numpy_scalars_are_0d_arrays(scalar):
    for make in (fc.Tensor, fc.tensor, fc.as_tensor):
        t = make(scalar)
        assert (t.shape, t.dtype, t.device, t.item()) == ((), scalar.dtype, "cpu", scalar.item())
    if scalar.dtype == np.float32:
        assert F.relu(scalar).shape == F.dropout(scalar, 0.0).shape == F.pad(scalar, ()).shape == ()
        t = fc.ones(2)
        t[0] = scalar
        np.testing.assert_array_equal(t.numpy(), [3, 1])


@pytest.mark.parametrize(
    "array, got",
    [
        (np.ones(3, complex), "complex128 3; pass .real and .imag apart"),
        (np.ones(3, np.longdouble), "float128 3; .*'float64'"),
        (np.zeros(3, [("a", "f4")]), "3; pass one field of it"),
        (np.array([None]), "object 1"),
        (np.array(["a"]), "<U1 1"),
        (np.array(["2020-01-01"], "M8[D]"), r"datetime64\[D\] 1"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "masked array.*filled"),
    ],
    ids=lambda v: str(getattr(v, "dtype", "")),
)
def test_arrays_that_hold_no_real_numbers_are_refused(array, got):
    for name, door in (
        ("Tensor", fc.Tensor),
        ("tensor", fc.tensor),
        ("as_tensor", fc.as_tensor),
        ("from_numpy", fc.from_numpy),
        ("add", lambda a: fc.ones(len(a)) + a),
        ("conv1d", lambda a: F.conv1d(a, np.ones((1, 1, 1), np.float32))),
        ("linear", lambda a: F.linear(np.ones((1, 1), np.float32), a)),
        ("ReLU", nn.ReLU()),
        ("pad", lambda a: F.pad(a, (1, 1))),
    ):
        with pytest.raises(
            TypeError, match=f"^{name}: .*{got}" if name != "ReLU" else f"^(ReLU|relu): .*{got}"
        ):
            door(array)
