"""The contract's gather and scatter: every shape of index, every joining op, wrong indices."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import OP_BACKENDS, op_backend
from hypothesis import given
from hypothesis import strategies as st
from support.selection import every

from fastconv.backends import load

backend = op_backend
JOIN = {"add": np.add, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}


@pytest.fixture
def engine(backend):
    return load(backend)


def by_loops(x, index, axis):
    """The place in ``x`` of every element that is read, as a list per element of the result, in order."""
    shape = [index.shape[d] if d == axis else n for d, n in enumerate(x.shape)]
    index = np.broadcast_to(index, shape)
    for place in np.ndindex(*shape):
        yield place, (*place[:axis], int(index[place]), *place[axis + 1 :])


def case(rng, shape, axis, count, whole, dtype="float32", order="C"):
    x = rng.integers(1, 7, shape).astype(dtype) if dtype != "float32" else rng.random(shape, np.float32)
    x = np.asarray(x, order=order)
    extents = [count if d == axis else n if w else 1 for d, (n, w) in enumerate(zip(shape, whole))]
    return x, rng.integers(0, shape[axis], extents)


@st.composite
def cases(draw):
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    axis = draw(st.integers(0, len(shape) - 1))
    whole = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    dtype = draw(st.sampled_from(["float32", "float64", "int64", "int32", "uint8"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return axis, *case(rng, shape, axis, draw(st.integers(0, 6)), whole, dtype, draw(st.sampled_from("CF")))


@pytest.mark.parametrize("backend", OP_BACKENDS)
@given(drawn=cases(), data=st.data())
def test_against_loops(backend, drawn, data):
    (axis, x, index), engine = drawn, load(backend)
    name = data.draw(st.sampled_from(["set", *JOIN]))
    y = engine.to_host(engine.gather(engine.asarray(x), engine.asarray(index), axis))
    want, changed = np.zeros(y.shape, x.dtype), x.copy()
    value = np.random.default_rng(1).integers(1, 4, y.shape).astype(x.dtype)
    for place, source in by_loops(x, index, axis):
        want[place] = x[source]
        old = changed[source]
        changed[source] = (
            value[place] if name == "set" else JOIN[name]([old], [value[place]], dtype=x.dtype)[0]
        )
    np.testing.assert_array_equal(y, want)
    target = engine.copy(engine.asarray(x))
    engine.scatter(name, target, engine.asarray(index), engine.asarray(value), axis)
    np.testing.assert_allclose(engine.to_host(target), changed, rtol=1e-5)


LARGE = {
    "rows": ((300, 70), 0, 500, (True, False)),
    "few long rows": ((9, 3000), 0, 40, (True, False)),
    "elements of rows": ((600, 40), 1, 30, (True, True)),
    "elements of columns": ((40, 600), 0, 30, (True, True)),
    "one line": ((20000,), 0, 9000, (True,)),
    "middle": ((7, 20, 90), 1, 11, (True, True, True)),
    "the same for all rows": ((200, 50), 1, 60, (False, True)),
    "repeats along one of two": ((6, 5, 9, 40), 2, 12, (True, False, True, True)),
}


@pytest.mark.parametrize("name", every(["set", *JOIN], 2))
@pytest.mark.parametrize("what", every(LARGE, 3))
def test_large(engine, what, name):
    """Arrays that the parallel kernels take; the values of one element come in order."""
    shape, axis, count, whole = LARGE[what]
    reference = load("numpy")
    x, index = case(np.random.default_rng(2), shape, axis, count, whole)
    want = reference.gather(x, index, axis)
    np.testing.assert_array_equal(
        engine.to_host(engine.gather(engine.asarray(x), engine.asarray(index), axis)), want
    )
    for value in (np.random.default_rng(3).random(want.shape, np.float32), np.full((1,) * x.ndim, 1.5, "f")):
        for order in ("C", "F"):
            expected, changed = x.copy(), engine.asarray(np.array(x, order=order))
            reference.scatter(name, expected, index, value, axis)
            engine.scatter(name, changed, engine.asarray(index), engine.asarray(value), axis)
            np.testing.assert_allclose(engine.to_host(changed), expected, rtol=1e-5)


@pytest.mark.parametrize("wrong", [-1, 300, 2**40, -(2**62)])
@pytest.mark.parametrize("shape, axis", [((300, 70), 0), ((300, 2), 0), ((3, 300), 1), ((300, 5000), 0)])
def test_a_wrong_index_is_refused(engine, shape, axis, wrong):
    x = engine.asarray(np.ones(shape, np.float32))
    extents = [40 if d == axis else n for d, n in enumerate(shape)]
    index = np.zeros(extents, np.int64)
    index[-1, -1] = wrong
    message = f"index {wrong} is out of bounds for dimension {axis} of extent 300"
    with pytest.raises(IndexError, match=message):
        engine.gather(x, engine.asarray(index), axis)
    value = engine.asarray(np.ones(extents, np.float32))
    for name in ("set", "add"):
        with pytest.raises(IndexError, match=message):
            engine.scatter(name, x, engine.asarray(index), value, axis)
