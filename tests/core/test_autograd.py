"""The tape: what is recorded, what backward adds up, frees and refuses."""

import gc
import threading
import weakref

import numpy as np
import pytest

import fastconv as fc
from fastconv.nn import functional as F
from fastconv.tape import Op


def leaf(*values):
    return fc.tensor(list(values), dtype=fc.float64, requires_grad=True)


def test_shared_subexpression_is_differentiated_once_per_use():
    x = leaf(3.0)
    y = x * x
    z = (y + y * y).sum()  # x^2 + x^4
    z.backward()
    assert x.grad.item() == 2 * 3 + 4 * 27


def test_gradients_of_several_convolutions_of_one_input_add_up(backend):
    rng = np.random.default_rng(0)
    x, one, two, three = (
        rng.standard_normal(s) for s in ((2, 3, 6, 6), (3, 3, 3, 3), (3, 3, 1, 1), (3, 3, 3, 3))
    )

    def gradients(ways, passes=1):
        leaf = fc.tensor(x, requires_grad=True)
        shared = leaf * 2
        y = sum((f(shared) for f in ways), start=shared if skip else 0)
        for _ in range(passes):
            y.sum().backward(retain_graph=True)
        return leaf.grad.numpy()

    ways = [lambda s, w=w, p=p: F.conv2d(s, w, padding=p) ** 2 for w, p in ((one, 1), (two, 0), (three, 1))]
    skip = False
    want = sum(gradients([way]) for way in ways)
    skip = True
    np.testing.assert_allclose(gradients(ways), want + 2, rtol=1e-12)
    np.testing.assert_allclose(gradients(ways, passes=2), 2 * (want + 2), rtol=1e-12)


def test_leaf_gradients_accumulate_until_cleared():
    x = leaf(1.0, 2.0)
    for _ in range(3):
        (x * 5).sum().backward()
    np.testing.assert_array_equal(x.grad, [15, 15])
    x.zero_grad()
    assert x.grad is None


def test_gradients_of_two_leaves_never_share_memory():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    upstream = np.ones(2)
    (a + b).backward(upstream)
    assert not np.shares_memory(a.grad.numpy(), b.grad.numpy())
    a.grad.numpy()[:] = 7
    np.testing.assert_array_equal(b.grad, [1, 1])
    np.testing.assert_array_equal(upstream, [1, 1])


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (2, 1), (2, 3)])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv"])
def test_broadcasting_sums_the_gradient_over_what_was_stretched(shape, name):
    rng = np.random.default_rng(0)
    a = fc.tensor(rng.uniform(1, 2, (2, 3)), requires_grad=True)
    b = fc.tensor(rng.uniform(1, 2, shape), requires_grad=True)
    getattr(a, f"__{name}__")(b).sum().backward()
    assert a.grad.shape == (2, 3) and b.grad.shape == shape
    eps, b0 = 1e-6, b.numpy().copy()
    for i in np.ndindex(shape):
        ends = []
        for step in (eps, -eps):
            moved = b0.copy()
            moved[i] += step
            ends.append(getattr(a.numpy(), f"__{name}__")(moved).sum())
        np.testing.assert_allclose(b.grad.numpy()[i], (ends[0] - ends[1]) / (2 * eps), rtol=1e-6)


def test_second_backward_is_refused_and_retain_graph_allows_it():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8
    with pytest.raises(RuntimeError, match="already freed"):
        y.backward()


def test_buffers_are_freed_after_backward():
    x = leaf(*range(1000))
    y = x.exp()
    kept = weakref.ref(y.node.saved[0])
    loss = (y * 2).sum()
    del y
    assert kept() is not None
    loss.backward()
    gc.collect()
    assert kept() is None


def test_backward_needs_a_gradient_for_more_than_one_element():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"backward: a gradient of shape 2 is needed"):
        (x * 2).backward()
    with pytest.raises(ValueError, match="backward: gradient must have shape 2"):
        (x * 2).backward(np.ones(3))


def test_backward_without_a_recorded_graph_is_refused():
    x = fc.tensor([1.0])
    with pytest.raises(RuntimeError, match="does not require gradients"):
        (x * 2).sum().backward()


def test_no_grad_as_context_and_decorator_records_nothing():
    x = leaf(1.0)
    with fc.no_grad():
        assert not (x * 2).requires_grad
        with fc.no_grad():
            pass
        assert not (x * 2).requires_grad

    @fc.no_grad()
    def double(t):
        return t * 2

    assert not double(x).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_holds_for_its_own_thread_only():
    x, seen = leaf(1.0), []
    with fc.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


@pytest.mark.parametrize("depth", [10_000])
def test_deep_graphs_do_not_overflow_the_stack(depth):
    x = leaf(1.0)
    y = x
    for _ in range(depth):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.item() == 1
    y = x
    for _ in range(depth):
        y = y * 1.0
    del y  # never run backward: dropping the chain must not recurse either


def test_data_shares_memory_and_is_off_the_tape():
    w = leaf(1.0, 2.0)
    (w * w).sum().backward()
    w.data[:] -= 0.5 * w.grad
    np.testing.assert_array_equal(w.numpy(), [0, 0])
    assert w.requires_grad and w.is_leaf


def test_item_assignment_is_followed():
    x, w = leaf(1.0, 2.0, 3.0), leaf(10.0)
    y = x * 2
    y[1] = w.sum() * 4
    y[0] = 5.0
    np.testing.assert_array_equal(y.numpy(), [5, 40, 6])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0, 2])
    np.testing.assert_array_equal(w.grad, [4])


def test_item_assignment_through_a_broadcast_value():
    y, w = fc.zeros(2, 3, dtype=fc.float64), leaf(1.0, 2.0, 3.0)
    y[:] = w
    (y * fc.tensor(np.arange(6.0).reshape(2, 3))).sum().backward()
    np.testing.assert_array_equal(w.grad, [3, 5, 7])


def test_assignment_to_a_leaf_that_is_tracked_is_refused():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="a leaf that requires gradients"):
        x[0] = 3.0


def test_assignment_to_a_view_is_one_to_its_tensor():
    x = leaf(1.0, 2.0)
    y = x * 2
    y[0:1][0] = 3.0
    y.sum().backward()
    np.testing.assert_array_equal(y.numpy(), [3, 4])
    np.testing.assert_array_equal(x.grad, [0, 2])


def test_a_saved_tensor_changed_in_place_is_noticed():
    x = leaf(1.0, 2.0)
    y = x * 1
    z = (y * y).sum()
    y[0] = 7.0
    with pytest.raises(RuntimeError, match="Binary needs was changed in place"):
        z.backward()


def test_gradient_of_repeated_indices_adds_up():
    x = leaf(1.0, 2.0, 3.0)
    x[np.array([0, 0, 2])].sum().backward()
    np.testing.assert_array_equal(x.grad, [2, 0, 1])


def test_integer_tensors_cannot_require_gradients():
    with pytest.raises(TypeError, match="only float tensors can require gradients, got int64"):
        fc.tensor([1, 2], requires_grad=True)
    with pytest.raises(TypeError, match="only float tensors"):
        fc.arange(3).requires_grad_()


def test_a_user_written_function():
    class Cube(Op):
        @staticmethod
        def forward(ctx, x):
            ctx.save(x)
            return x**3

        @staticmethod
        def backward(ctx, gy):
            return gy * 3 * ctx.saved[0] ** 2

    x = leaf(2.0)
    Cube.apply(x).sum().backward()
    assert x.grad.item() == 12


def test_only_what_needs_a_gradient_gets_one():
    x, w = fc.rand(1, 1, 4, 4), fc.tensor(np.ones((1, 1, 3, 3), np.float32), requires_grad=True)
    F.conv2d(x, w).sum().backward()
    assert x.grad is None and w.grad.shape == (1, 1, 3, 3)
