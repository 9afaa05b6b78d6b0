"""Every engine keeps the contract: names, signatures, every pointwise op, the same dropout."""

from __future__ import annotations

import inspect
import math
import operator
import re
import warnings

import numpy as np
import pytest
from conftest import op_backend

from fastconv import spec
from fastconv.backends import BINARY, CONTRACT, OPTIONAL, TERNARY, UNARY, contract, load, select
from fastconv.backends.common.pointwise import BITWISE

backend = op_backend


def clamped(v, low, high):
    return min(max(v, low), high)


def softplus(v):
    return math.log1p(math.exp(v))


#: Unary op -> (the function of one number, the numbers of the op); written with ``math``, not with NumPy.
SCALAR = {
    "neg": (operator.neg,),
    "abs": (abs,),
    "sign": (lambda v: math.copysign(1.0, v),),
    "floor": (math.floor,),
    "ceil": (math.ceil,),
    "trunc": (math.trunc,),
    "round": (round,),
    "round_decimals": (lambda v: round(v, 1), 10.0, 1.0),
    "isnan": (math.isnan,),
    "isinf": (math.isinf,),
    "isfinite": (math.isfinite,),
    "exp": (math.exp,),
    "expm1": (math.expm1,),
    "log": (math.log,),
    "log1p": (math.log1p,),
    "log2": (math.log2,),
    "log10": (math.log10,),
    "sqrt": (math.sqrt,),
    "rsqrt": (lambda v: 1 / math.sqrt(v),),
    "reciprocal": (lambda v: 1 / v,),
    "sin": (math.sin,),
    "cos": (math.cos,),
    "erf": (math.erf,),
    "pow": (lambda v: v**3.0, 3.0),
    "clamp": (lambda v: clamped(v, -0.6, 1.4), -0.6, 1.4),
    "relu": (lambda v: max(v, 0.0),),
    "leaky_relu": (lambda v: v if v > 0 else 0.1 * v, 0.1),
    "hardtanh": (lambda v: clamped(v, -0.6, 1.4), -0.6, 1.4),
    "hardsigmoid": (lambda v: clamped(v / 6 + 0.5, 0.0, 1.0),),
    "hardswish": (lambda v: v * clamped(v / 6 + 0.5, 0.0, 1.0),),
    "elu": (lambda v: v if v > 0 else 0.7 * (math.exp(v) - 1), 0.7),
    "selu": (lambda v: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * (math.exp(v) - 1)),),
    "celu": (lambda v: v if v > 0 else 0.7 * (math.exp(v / 0.7) - 1), 0.7),
    "sigmoid": (lambda v: 1 / (1 + math.exp(-v)),),
    "logsigmoid": (lambda v: -softplus(-v),),
    "softplus": (lambda v: softplus(2 * v) / 2 if 2 * v <= 10 else v, 2.0, 10.0),
    "softsign": (lambda v: v / (1 + abs(v)),),
    "hardshrink": (lambda v: v if abs(v) > 0.5 else 0.0, 0.5),
    "softshrink": (lambda v: math.copysign(max(abs(v) - 0.5, 0.0), v), 0.5),
    "tanhshrink": (lambda v: v - math.tanh(v),),
    "threshold": (lambda v: v if v > 0.1 else 2.0, 0.1, 2.0),
    "tanh": (math.tanh,),
    "gelu": (lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2,),
    "gelu_tanh": (lambda v: v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2,),
    "silu": (lambda v: v / (1 + math.exp(-v)),),
    "mish": (lambda v: v * math.tanh(softplus(v)),),
}
POSITIVE = ("log", "log1p", "log2", "log10", "sqrt", "rsqrt")
OPERATOR = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "pow_by_base": lambda a, b: b * a ** (b - 1),
    "pow_by_exponent": lambda a, b: a**b * math.log(a),
    "maximum": max,
    "minimum": min,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
    "floor_divide": operator.floordiv,
    "trunc_divide": lambda a, b: float(int(a / b)),
    "remainder": operator.mod,
    "fmod": math.fmod,
    "glu": lambda a, b: a / (1 + math.exp(-b)),
    "prelu": lambda a, b: a if a > 0 else a * b,
    "prelu_by_weight": lambda a, b: 0.0 if b > 0 else a * b,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
}
THREE = {
    "where": lambda a, b, c, p: b if a else c,
    "addcmul": lambda a, b, c, p: a + p * b * c,
    "addcdiv": lambda a, b, c, p: a + p * b / c,
    "lerp": lambda a, b, c, p: a + c * (b - a),
    "prelu_bwd": lambda g, x, w, p: g if x > 0 else g * w,
    "glu_bwd": lambda g, a, b, p: g * a * math.exp(-b) / (1 + math.exp(-b)) ** 2,
}
RTOL = {"float32": 2e-6, "float64": 1e-14}


@pytest.fixture
def engine(backend):
    return load(backend)


def parameters(signature):
    """What callers rely on: names in order, kinds and defaults."""
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


def test_names(engine):
    assert [op for op in CONTRACT if not callable(getattr(engine, op, None))] == []
    # An op outside the contract would work on one backend only.
    ops = {n for n in vars(engine) if re.fullmatch(r"[a-z]\w*_(fwd|bwd|bwd_data|bwd_weight|step)", n)}
    assert ops - CONTRACT.keys() - OPTIONAL.keys() == set()


@pytest.mark.parametrize("op", CONTRACT)
def test_signature(engine, op):
    assert parameters(inspect.signature(getattr(engine, op))) == parameters(CONTRACT[op])


@pytest.mark.parametrize("op", OPTIONAL)
def test_signature_of_an_optional_op(engine, op):
    if not hasattr(engine, op):
        pytest.skip("this engine does not have it")
    assert parameters(inspect.signature(getattr(engine, op))) == parameters(OPTIONAL[op])


@pytest.mark.parametrize("protocol", [contract.Engine, contract.OptionalOps])
def test_every_op_is_typed_and_described(protocol):
    for op, signature in contract.signatures(protocol).items():
        assert (inspect.getdoc(getattr(protocol, op)) or "").strip(), op
        assert all(p.annotation is not p.empty for p in signature.parameters.values()), op
        assert signature.return_annotation is not signature.empty, op


def test_a_missing_op_and_another_signature_are_noticed():
    """The comparison above, on an engine with two faults."""

    class Wrong:
        def conv_prepack(self, weights):
            pass

    assert [op for op in CONTRACT if not callable(getattr(Wrong(), op, None))] != []
    assert parameters(inspect.signature(Wrong().conv_prepack)) != parameters(CONTRACT["conv_prepack"])


def test_lists_are_complete():
    assert SCALAR.keys() == UNARY.keys()
    assert OPERATOR.keys() == set(BINARY)
    assert THREE.keys() == set(TERNARY)


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("name", UNARY)
def test_unary(engine, name, dtype):
    (function, *numbers), row = SCALAR[name], UNARY[name]
    x = np.array([[0.3, 1.0, 2.5], [0.01, 4.0, 7.0]], dtype)
    if name not in POSITIVE:
        x = np.concatenate([x, -x])
    y = engine.unary_fwd(name, engine.asarray(x), *numbers)
    want = np.array([[function(float(v)) for v in row] for row in x])
    assert engine.to_host(y).dtype == (bool if row.kind == "bool" else dtype)
    np.testing.assert_allclose(engine.to_host(y), want, rtol=RTOL[dtype], atol=RTOL[dtype])
    if row.backward is None:
        return

    saved = {"x": engine.asarray(x), "y": y, "": None}[row.saves]
    gx = engine.to_host(engine.unary_bwd(name, engine.asarray(np.full_like(x, 2.0)), saved, *numbers))
    h = 1e-5
    slope = np.array(
        [[(function(v + h) - function(v - h)) / (2 * h) for v in row] for row in x.astype(float)]
    )
    assert gx.dtype == dtype
    np.testing.assert_allclose(gx, 2 * slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BITWISE)
def test_bitwise(engine, name):
    for a, b in (
        (np.array([[1], [6], [255]]), np.array([3, 5])),
        (np.array([True, False]), np.array([[True], [False]])),
    ):
        y = engine.to_host(engine.binary_fwd(name, engine.asarray(a), engine.asarray(b)))
        np.testing.assert_array_equal(y, OPERATOR[name](a, b))
        assert y.dtype == a.dtype


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("name", TERNARY)
def test_ternary(engine, name, dtype):
    a = np.array([[0.5], [-1.25], [3.0]], dtype)
    a = a > 0 if name == "where" else a
    b, c = np.array([0.5, 2.0, -3.0, 1.25], dtype), np.array([[[0.25]], [[0.75]]], dtype)
    for values in ((a, b, c), (a, 2.0, c), (a, b, 0.5), (a[0, 0], b[:, None, None], c[:1])):
        on_device = [engine.asarray(np.asarray(v)) if hasattr(v, "dtype") else v for v in values]
        y = engine.to_host(engine.ternary_fwd(name, *on_device, 0.5))
        all_values = np.broadcast(*values)
        want = np.reshape([THREE[name](*map(float, v), 0.5) for v in all_values], all_values.shape)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, want, rtol=4 * RTOL[dtype], atol=RTOL[dtype])


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("name", [name for name in BINARY if name not in BITWISE])
def test_binary(engine, name, dtype):
    a, b = np.array([[0.5], [1.25], [3.0]], dtype), np.array([0.5, 2.0, 3.0, 1.25], dtype)
    for left, right in ((a, b), (a, 2.0), (1.25, b)):
        y = engine.binary_fwd(
            name, *(engine.asarray(v) if isinstance(v, np.ndarray) else v for v in (left, right))
        )
        pairs = np.broadcast(left, right)
        want = np.reshape([OPERATOR[name](float(p), float(q)) for p, q in pairs], pairs.shape)
        y = engine.to_host(y)
        assert y.dtype == (dtype if want.dtype.kind == "f" else bool)
        np.testing.assert_allclose(y, want, rtol=RTOL[dtype])


@pytest.mark.parametrize("seed", [0, 1, 123456789, 2**63 + 5])
def test_dropout_recipe(engine, seed):
    """The documented hash, in Python's integers; element numbers follow the logical order, not memory."""

    def kept(i):
        z = (i + seed * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return (z ^ (z >> 31)) >> 40 >= int(0.3 * 2**24)

    x = np.ones((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2)
    y = engine.to_host(engine.dropout(engine.asarray(x), 0.3, 2.0, seed))
    want = np.reshape([2.0 * kept(i) for i in range(x.size)], x.shape)
    np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("last", [False, True], ids=["plain", "channels-last"])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 4), (2, 3, 4, 2), (2, 3, 2, 2, 3), (0, 3, 2)], ids=str)
def test_dropout_of_channels_recipe(engine, shape, last):
    """The number of a channel counts in logical order too; dropout of as many elements is the same."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    if last:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    y = engine.to_host(engine.dropout(engine.asarray(x), 0.4, 2.0, 11, True))
    mask = engine.to_host(engine.dropout(engine.asarray(np.ones(shape[:2], np.float32)), 0.4, 2.0, 11))
    np.testing.assert_array_equal(y, x * mask.reshape(*shape[:2], *(1,) * (len(shape) - 2)))


def test_conv_algorithms(engine):
    names = {name for a in engine.CONV_ALGORITHMS for name in (a.name, *a.aliases)}
    assert {"im2col", "direct"} <= names
    geometry = spec.conv_spec("conv2d", (2, 4, 6, 5), (6, 2, 3, 3), stride=2, padding=1, groups=2)
    x, w = (engine.asarray(np.ones(s, np.float32)) for s in (geometry.x_shape, geometry.w_shape))
    for name in ("im2col", "direct"):
        y = engine.to_host(engine.conv_fwd(x, w, None, geometry, name))
        assert y.shape == geometry.y_shape and y[0, 0, 1, 1] == 18  # 3 x 3 taps of 2 channels
    for name in {"depthwise", "direct", "im2col", "implicit_gemm", "winograd"} - names:
        with pytest.raises(ValueError, match=f"conv2d: algorithm '{name}' is not in this backend"):
            engine.conv_fwd(x, w, None, geometry, name)


@pytest.mark.full
def test_depthwise_kernels_are_an_algorithm(engine):
    """``auto`` runs them, dense layers are refused with a reason, ``direct`` does without them."""
    listed = {a.name: a for a in engine.CONV_ALGORITHMS}
    if "depthwise" not in listed:
        pytest.skip("this engine has no kernels for depthwise layers")
    geometry = spec.conv_spec("conv2d", (2, 8, 6, 5), (8, 1, 3, 3), padding=1, groups=8)
    for which in ("fwd", "bwd_data", "bwd_weight"):
        assert select.choose(engine.CONV_ALGORITHMS, geometry, which, np.float32, None).name == "depthwise"
    rng = np.random.default_rng(0)
    x, w, gy = (
        rng.standard_normal(s).astype(np.float32)
        for s in (geometry.x_shape, geometry.w_shape, geometry.y_shape)
    )
    reference = load("numpy")
    calls = {"conv_fwd": (x, w, None), "conv_bwd_data": (gy, w), "conv_bwd_weight": (x, gy)}
    for call, arrays in calls.items():
        want = getattr(reference, call)(*arrays, geometry)
        on_device = [None if a is None else engine.asarray(a) for a in arrays]
        for name in ("depthwise", "direct"):
            got = engine.to_host(getattr(engine, call)(*on_device, geometry, name))
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5, err_msg=f"{call}, {name}")
    dense = spec.conv_spec("conv2d", (1, 16, 6, 5), (16, 16, 3, 3))
    reason = listed["depthwise"].refuses(dense, np.float32)
    x, w = (engine.asarray(np.ones(s, np.float32)) for s in (dense.x_shape, dense.w_shape))
    with pytest.raises(ValueError, match=r"algorithm 'depthwise' does not apply: it needs .*groups") as error:
        engine.conv_fwd(x, w, None, dense, "depthwise")
    assert reason in str(error.value)


def test_ieee_results_are_silent(engine):
    """NaN and infinity are results; a RuntimeWarning would stop a user who turns warnings into errors."""
    x = engine.asarray(np.array([0.0, -1.0, np.inf, np.nan, 1000.0], np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logs = engine.to_host(engine.unary_fwd("log", x))
        quotients = engine.to_host(engine.binary_fwd("div", x, engine.asarray(np.zeros(5, np.float32))))
        sigmoids = engine.to_host(engine.unary_fwd("sigmoid", x))
    np.testing.assert_array_equal(logs[:4], [-np.inf, np.nan, np.inf, np.nan])
    np.testing.assert_array_equal(quotients, [np.nan, -np.inf, np.inf, np.nan, np.inf])
    assert sigmoids[2] == 1 and np.isnan(sigmoids[3]) and sigmoids[4] == 1
