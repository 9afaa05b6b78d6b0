"""``fc.autograd`` and the methods about gradients, compared with PyTorch where it is installed."""

from __future__ import annotations

import copy
import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv as fc
from fastconv.autograd import Function, gradcheck
from fastconv.autograd.function import once_differentiable


@pytest.fixture(autouse=True)
def reference():
    """What the tape does is the same on every engine; the reference compiles nothing."""
    with fc.backend("numpy"):
        yield


def leaf(*values, dtype="float64"):
    return fc.tensor(list(values), dtype=dtype, requires_grad=True)


# ------------------------------------------------------------------------------------------------- modes
def recorded(x):
    return (x * 2).requires_grad


def test_modes_nest_and_are_set_back():
    x = leaf(1.0)
    with fc.no_grad():
        assert not recorded(x) and not fc.is_grad_enabled()
        with fc.enable_grad():
            assert recorded(x)
            with fc.set_grad_enabled(False):
                assert not recorded(x)
            assert recorded(x)
        assert not recorded(x)
    assert recorded(x) and not fc.is_inference_mode_enabled()


def test_inference_mode_wins_over_what_is_enabled_inside():
    x = leaf(1.0)
    with fc.inference_mode():
        assert fc.is_inference_mode_enabled()
        with fc.enable_grad():
            assert not recorded(x)
        with fc.inference_mode(False):
            assert recorded(x) and not fc.is_inference_mode_enabled()
        made = x * 2
    (made * x).sum().backward()  # a constant, as PyTorch's inference tensors cannot be
    assert x.grad.item() == 2


@pytest.mark.parametrize(
    "mode", ["no_grad", "no_grad()", "inference_mode", "inference_mode()", "set_grad_enabled(False)"]
)
def test_modes_decorate_functions(mode):
    @eval(f"fc.{mode}")
    def double(t):
        """Its text."""
        return recorded(t)

    assert double(leaf(1.0)) is False
    assert double.__doc__ == "Its text." and double.__name__ == "double"
    assert fc.is_grad_enabled()


def test_a_decorated_generator_is_in_the_mode_while_its_own_lines_run():
    x, closed = leaf(1.0), []

    @fc.no_grad()
    def steps():
        try:
            got = yield recorded(x)
            try:
                yield recorded(x), got
            except KeyError:
                yield recorded(x), "caught"
        finally:
            closed.append(recorded(x))

    running = steps()
    assert next(running) is False and fc.is_grad_enabled()
    assert running.send("sent") == (False, "sent") and fc.is_grad_enabled()
    assert running.throw(KeyError()) == (False, "caught")
    running.close()
    assert closed == [False] and fc.is_grad_enabled()


def test_set_grad_enabled_as_a_call_holds_from_there_on():
    x = leaf(1.0)
    try:
        fc.set_grad_enabled(False)
        assert not recorded(x)
        fc.set_grad_enabled(mode=True)
        assert recorded(x)
    finally:
        fc.set_grad_enabled(True)


def test_a_decorator_is_shared_by_threads():
    x, seen = leaf(1.0), []
    inside, go = threading.Barrier(2), threading.Event()

    @fc.no_grad()
    def wait():
        inside.wait()
        go.wait()
        seen.append(recorded(x))

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for t in threads:
        t.start()
    go.set()
    for t in threads:
        t.join()
    assert seen == [False, False] and fc.is_grad_enabled()


@pytest.mark.parametrize("mode", [fc.set_grad_enabled, fc.inference_mode])
def test_a_mode_is_a_bool(mode):
    with pytest.raises(TypeError, match=f"{mode.__name__}: mode must be True or False, got 3"):
        mode(3)


# ------------------------------------------------------------------------------------------------- grad
def test_grad_leaves_grad_alone_and_visits_only_what_is_between():
    x, w = leaf(2.0), leaf(3.0)
    h = x * w
    y = (h * h).sum()
    gh, gx = fc.autograd.grad(y, (h, x), retain_graph=True)
    assert gh.item() == 12 and gx.item() == 36
    assert x.grad is None and w.grad is None and h.grad is None
    (only,) = fc.autograd.grad(y, h)  # does not visit the node of h
    assert only.item() == 12
    h.sum().backward()  # whose graph is still there
    assert x.grad.item() == 3


def test_grad_of_several_outputs_is_that_of_their_sum():
    x = leaf(1.0, 2.0)
    outputs = [x * 2, (x * x).sum()]
    (g,) = fc.autograd.grad(outputs, [x], grad_outputs=[np.array([1.0, 10.0]), None])
    np.testing.assert_array_equal(g, [2 + 2, 20 + 4])
    y = x * 3
    (g,) = fc.autograd.grad([y, y], x, [fc.ones(2), fc.ones(2)])
    np.testing.assert_array_equal(g, [6, 6])


def test_grad_of_a_tensor_by_itself_is_what_came_in():
    x = leaf(2.0)
    y = x * x
    assert [g.item() for g in fc.autograd.grad(y, [y, x], fc.tensor([5.0]))] == [5, 20]
    assert fc.autograd.grad(x, x)[0].item() == 1


def test_unused_inputs():
    x, other = leaf(1.0), leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="autograd.grad: input 1 was not used.*allow_unused"):
        fc.autograd.grad((x * 2).sum(), [x, other])
    assert fc.autograd.grad((x * 2).sum(), [x, other], allow_unused=True)[1] is None
    filled = fc.autograd.grad((x * 2).sum(), [x, other], materialize_grads=True)[1]
    np.testing.assert_array_equal(filled, [0, 0])
    with pytest.raises(ValueError, match="allow_unused=False"):
        fc.autograd.grad((x * 2).sum(), [x], materialize_grads=True, allow_unused=False)


def test_a_freed_graph_is_named_and_not_taken_for_an_unused_input():
    x = leaf(2.0)
    y = (x * x).sum()
    fc.autograd.grad(y, x, retain_graph=True)
    fc.autograd.grad(y, x)
    with pytest.raises(RuntimeError, match="already freed"):
        fc.autograd.grad(y, x)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: fc.autograd.grad(x.sum(), x, create_graph=True), NotImplementedError, "create_graph=True"),
        (lambda x: x.sum().backward(create_graph=True), NotImplementedError, "^backward: create_graph=True"),
        (
            lambda x: fc.autograd.grad(x.sum(), x, is_grads_batched=True),
            NotImplementedError,
            "is_grads_batched",
        ),
        (lambda x: fc.autograd.grad(x.sum(), []), RuntimeError, "inputs must not be empty"),
        (lambda x: x.sum().backward(inputs=[]), RuntimeError, "inputs must not be empty"),
        (lambda x: fc.autograd.grad(x.sum(), "x"), TypeError, "inputs must be Tensors, got str"),
        (lambda x: fc.autograd.grad("x", x), TypeError, "expected Tensors, got str"),
        (lambda x: fc.autograd.grad(x.sum(), x.detach()), RuntimeError, "input 0 does not require"),
        (lambda x: fc.autograd.grad(x.detach(), x), RuntimeError, "does not require gradients"),
        (lambda x: fc.autograd.grad(x, x), RuntimeError, "a gradient of shape 2 is needed"),
        (lambda x: fc.autograd.grad([x.sum()], x, [1, 2]), RuntimeError, "each of 1 tensors, got 2"),
        (lambda x: fc.autograd.backward(x, np.ones(3)), ValueError, "autograd.backward: gradient must have"),
    ],
)
def test_what_grad_and_backward_refuse(call, error, match):
    with pytest.raises(error, match=match):
        call(leaf(1.0, 2.0))


def test_backward_for_some_inputs_only():
    x, w = leaf(2.0), leaf(3.0)
    h = x * w
    (h * h).sum().backward(inputs=[h, x])
    assert h.grad.item() == 12 and x.grad.item() == 36 and w.grad is None
    (x * w).sum().backward(inputs=x)
    assert x.grad.item() == 39


# ------------------------------------------------------------------------------------------------- hooks
def test_a_hook_sees_the_whole_gradient_once_and_may_replace_it():
    x, seen = leaf(1.0, 2.0), []
    first = x.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g * 10)
    (x * 2 + x * 3 + x[0]).sum().backward()
    assert seen == [[7, 5]] and x.grad.tolist() == [70, 50]
    first.remove()
    first.remove()
    x.grad = None
    x.sum().backward()
    assert seen == [[7, 5]] and x.grad.tolist() == [10, 10]


def test_a_hook_of_an_intermediate_result_changes_what_flows_on():
    x = leaf(1.0, 2.0)
    y = x * 3
    with y.register_hook(lambda g: g * 2):
        y.sum().backward(retain_graph=True)
    assert x.grad.tolist() == [6, 6]
    y.sum().backward()
    assert x.grad.tolist() == [9, 9]


def test_hooks_run_off_the_tape_and_own_what_they_see():
    x, kept = leaf(1.0), []
    x.register_hook(lambda g: kept.append((g, fc.is_grad_enabled())))
    (x * 2).sum().backward()
    assert kept[0][1] is False
    x.grad.zero_()
    assert kept[0][0].item() == 2


def test_a_gradient_of_another_shape_or_type_is_refused():
    for wrong, match in [
        (lambda g: g.sum(), "float64 and shape 2, got float64 scalar"),
        (lambda g: g.float(), "got float32 2"),
        (lambda g: 3, "Tensor or None, got int"),
    ]:
        x = leaf(1.0, 2.0)
        x.register_hook(wrong)
        with pytest.raises((RuntimeError, TypeError), match=match):
            (x * 2).sum().backward()


def test_hooks_need_a_gradient():
    with pytest.raises(RuntimeError, match="register_hook: .*requires_grad_"):
        fc.ones(2).register_hook(print)
    with pytest.raises(TypeError, match="expected a function, got 3"):
        leaf(1.0).register_hook(3)
    with pytest.raises(RuntimeError, match="only leaves"):
        (leaf(1.0) * 2).register_post_accumulate_grad_hook(print)
    with pytest.raises(RuntimeError, match="retain_grad"):
        fc.ones(2).retain_grad()


def test_post_accumulate_hooks_see_the_leaf_after_its_gradient_changed():
    x, seen = leaf(1.0), []
    x.register_post_accumulate_grad_hook(lambda t: seen.append((t is x, t.grad.item())))
    (x * 2 + x).sum().backward()
    (x * 2).sum().backward(inputs=[x])
    fc.autograd.grad((x * 2).sum(), x)
    assert seen == [(True, 3), (True, 5)]


def test_an_optimizer_in_the_backward_pass():
    """PyTorch's tutorial: step and forget each gradient as soon as it is there."""
    w = leaf(1.0)
    optimizer = fc.optim.SGD([w], lr=0.5)

    def step(p):
        optimizer.step()
        optimizer.zero_grad()

    w.register_post_accumulate_grad_hook(step)
    (w * 2).sum().backward()
    assert w.item() == 0 and w.grad is None


def test_retain_grad():
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    x.retain_grad()  # nothing to do
    assert y.retains_grad and not x.retains_grad and not (x * 1).retains_grad
    y.register_hook(lambda g: g * 2)  # seen by retain_grad, whichever came first
    z = (y * y).sum()
    z.backward(retain_graph=True)
    assert y.grad.tolist() == [12, 24] and x.grad.tolist() == [36, 72]
    z.backward()
    assert y.grad.tolist() == [24, 48]
    y.grad.zero_()
    assert x.grad.tolist() == [72, 144]


def test_a_retained_gradient_follows_a_change_in_place():
    x = leaf(1.0)
    y = x * 3
    y.retain_grad()
    y *= 2
    assert y.retains_grad
    (y * 5).sum().backward()
    assert y.grad.item() == 5 and x.grad.item() == 30


def test_retaining_does_not_keep_a_tensor_alive():
    x = leaf(1.0)
    y = x * 3
    y.retain_grad()
    z, gone = (y + 1).sum(), weakref.ref(y)
    del y
    gc.collect()
    assert gone() is None
    z.backward()


# ------------------------------------------------------------------------------------------------- leaves
def test_grad_fn_names_the_ops():
    x = leaf(1.0)
    y = (x * 2).exp()
    assert repr(y.grad_fn) == "<ExpBackward0>" and y.grad_fn.name() == "ExpBackward0"
    ((mul, _),) = y.grad_fn.next_functions
    assert mul.name() == "MulBackward0" and mul == y.grad_fn.next_functions[0][0]
    (ending, _), (nothing, _) = mul.next_functions
    assert ending.variable is x and ending.name() == "AccumulateGrad" and nothing is None
    assert ending.next_functions == () and len({ending, mul, y.grad_fn}) == 3
    assert x.grad_fn is None and y.detach().grad_fn is None and fc.ones(1).grad_fn is None
    with pytest.raises(AttributeError, match="MulBackward0"):
        _ = mul.variable
    assert "grad_fn=<ExpBackward0>" in repr(y)


def test_is_leaf_and_detach_():
    x = leaf(1.0)
    y = x * 2
    assert x.is_leaf and not y.is_leaf and y.detach().is_leaf and fc.ones(1).is_leaf
    with pytest.raises(RuntimeError, match="requires_grad: .*leaf tensors only"):
        y.requires_grad = False
    y.requires_grad = True  # it does already
    assert y.detach_() is y and y.is_leaf and not y.requires_grad
    assert y.requires_grad_().is_leaf
    with pytest.raises(RuntimeError, match="detach_: .*view"):
        (x * 2)[0].detach_()
    with pytest.raises(TypeError, match="only float tensors"):
        fc.arange(3).requires_grad = True


# ------------------------------------------------------------------------------------------------- functions
class Linear(Function):
    @staticmethod
    def forward(ctx, x, w, b=None):
        ctx.save_for_backward(x, w)
        ctx.has_bias = b is not None
        y = x @ w.T
        return y if b is None else y + b

    @staticmethod
    @once_differentiable
    def backward(ctx, gy):
        x, w = ctx.saved_tensors
        gx = gy @ w if ctx.needs_input_grad[0] else None
        gw = gy.T @ x if ctx.needs_input_grad[1] else None
        return gx, gw, gy.sum(0) if ctx.has_bias else None


def random(*shape, grad=True):
    return fc.tensor(np.random.default_rng(sum(shape)).standard_normal(shape), requires_grad=grad)


@pytest.mark.parametrize("frozen", [(), (0,), (1,), (0, 1)])
def test_a_function_has_the_gradients_that_it_says(frozen):
    args = [random(3, 4, grad=0 not in frozen), random(2, 4, grad=1 not in frozen), random(2)]
    assert gradcheck(Linear.apply, args)
    assert gradcheck(lambda *a: (Linear.apply(*a) * 2).exp(), args)
    y = Linear.apply(*args[:2], None)
    assert y.requires_grad is (len(frozen) < 2)
    if y.requires_grad:
        assert y.grad_fn.name() == "LinearBackward"


class Pair(Function):
    """Two outputs with gradients, one without, and one that is no tensor."""

    @staticmethod
    def forward(x, y):
        largest = x.argmax()
        return x * y, x + y, largest, "text"

    @staticmethod
    def setup_context(ctx, inputs, output):
        assert not fc.is_grad_enabled()
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(output[2])

    seen = None

    @staticmethod
    def backward(ctx, g_product, g_sum, g_largest, g_text):
        Pair.seen = g_product, g_sum, g_largest, g_text
        x, y = ctx.saved_tensors
        return g_product * y + g_sum, g_product * x + g_sum


def test_several_outputs():
    x, y = random(3), random(3, grad=True)
    assert gradcheck(lambda a, b: Pair.apply(a, b)[:2], (x, y))
    assert gradcheck(lambda a, b: Pair.apply(a, b)[0] * Pair.apply(a, b)[1].exp(), (x, y))
    product, total, largest, text = Pair.apply(x, y)
    assert (largest.requires_grad, largest.dtype, text) == (False, np.int64, "text")
    total.sum().backward(retain_graph=True)  # only one of them was used
    assert Pair.seen[0].tolist() == [0, 0, 0] and Pair.seen[2].tolist() == 0 and Pair.seen[3] is None
    np.testing.assert_array_equal(x.grad, [1, 1, 1])
    product.retain_grad()
    product.register_hook(lambda g: g * 2)
    (product + total + product).sum().backward()
    np.testing.assert_array_equal(product.grad, [4, 4, 4])
    np.testing.assert_allclose(x.grad, 4 * y.numpy() + 2)


def test_gradients_that_are_not_materialized_are_none():
    seen = []

    class Two(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, a, b):
            seen.append((a, b))
            return b

    x = leaf(1.0)
    Two.apply(x)[1].sum().backward()
    assert seen[0][0] is None and x.grad.item() == 1


def test_an_input_that_is_returned():
    class Scale(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 10

    x = leaf(2.0)
    y = Scale.apply(x)
    assert y is not x and x.is_leaf and np.shares_memory(x.numpy(), y.numpy())
    (y * 3).sum().backward()
    assert x.grad.item() == 30
    with pytest.raises(RuntimeError, match="autograd cannot follow a change of this view"):
        Scale.apply(x).mul_(2)


def test_a_function_that_works_in_place():
    class AddOne(Function):
        @staticmethod
        def forward(ctx, x, by):
            x.add_(1)
            ctx.mark_dirty(x)
            ctx.save_for_backward(x)
            return x

        @staticmethod
        def backward(ctx, g):
            (after,) = ctx.saved_tensors
            return g * after, None

    x = leaf(1.0, 2.0)
    y = x * 3
    z = AddOne.apply(y, 1)
    assert z is y and y.grad_fn.name() == "AddOneBackward" and y.tolist() == [4, 7]
    y.sum().backward()
    assert x.grad.tolist() == [12, 21]
    with pytest.raises(RuntimeError, match="a leaf that requires gradients"):
        AddOne.apply(x, 1)
    plain = fc.ones(2)
    assert AddOne.apply(plain, 1) is plain and plain.tolist() == [2, 2]

    class Forgets(AddOne):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x * 2

    with pytest.raises(RuntimeError, match="Forgets: forward must return every tensor that it marks dirty"):
        Forgets.apply(fc.ones(2))


def custom(gradient, arguments=1):
    class Custom(Function):
        @staticmethod
        def forward(ctx, *args):
            return args[0] * 2

        @staticmethod
        def backward(ctx, g):
            return gradient(g)

    return Custom


@pytest.mark.parametrize(
    ("gradient", "args", "error", "match"),
    [
        (lambda g: (g, g), (), RuntimeError, "returned 2 gradients, and forward has 1 arguments"),
        (lambda g: g, (3,), RuntimeError, "returned 1 gradients, and forward has 2"),
        (
            lambda g: (g, g),
            (3,),
            RuntimeError,
            "a gradient at index 1, where the argument of forward is not a Tensor",
        ),
        (lambda g: g[:1].sum(), (), RuntimeError, "shape scalar at index 0, where .* has shape 2"),
        (lambda g: fc.ones(3), (), RuntimeError, "shape 3 at index 0, where .* has shape 2"),
        (lambda g: 3.0, (), TypeError, "Tensors or None, got float at index 0"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(gradient, args, error, match):
    with pytest.raises(error, match=f"Custom: backward .*{match}"):
        custom(gradient).apply(leaf(1.0, 2.0), *args).sum().backward()


def test_gradients_that_fit_after_all():
    x = leaf(1.0, 2.0)
    custom(lambda g: (g, None, None)).apply(x).sum().backward()  # a None too many
    custom(lambda g: fc.ones(3, 2, dtype="float64")).apply(x).sum().backward()  # of a broadcast argument
    custom(lambda g: g.float()).apply(x).sum().backward()  # another type
    assert x.grad.tolist() == [5, 5] and x.grad.dtype == np.float64
    y = leaf(1.0)
    custom(lambda g: None).apply(y).sum().backward()
    assert y.grad is None


def test_a_saved_tensor_is_followed():
    x, w = random(2, 3), random(2, 3, grad=False)
    y = Linear.apply(x, w)
    w += 1
    with pytest.raises(RuntimeError, match="a tensor that Linear needs was changed in place"):
        y.sum().backward()


def test_a_saved_output_is_freed_with_the_graph():
    class Exp(Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    x = leaf(1.0)
    gc.disable()
    try:
        y = Exp.apply(x)
        gone = weakref.ref(y)
        assert gradcheck(Exp.apply, x)
        del y
        assert gone() is None  # by counting references, so there is no circle
    finally:
        gc.enable()


def test_gradients_that_a_function_keeps_are_not_those_of_a_leaf():
    x = leaf(1.0)
    mine = fc.ones(1, dtype="float64")
    (custom(lambda g: mine).apply(x) + 0).sum().backward()
    x.grad.zero_()
    assert mine.item() == 1


def test_mistakes_in_a_function():
    with pytest.raises(RuntimeError, match=r"Linear: a function has no instances; call Linear.apply"):
        Linear()
    with pytest.raises(NotImplementedError, match="forward"):
        type("Empty", (Function,), {}).apply(fc.ones(1))

    class Saves(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(3)

    with pytest.raises(TypeError, match="save_for_backward: expected Tensors, got int"):
        Saves.apply(leaf(1.0))

    class Reads(Function):
        @staticmethod
        def forward(ctx, x):
            return x * ctx.factor

    with pytest.raises(AttributeError, match="ctx.factor: forward has set no such attribute"):
        Reads.apply(leaf(1.0))


def test_under_no_grad_nothing_is_recorded():
    with fc.no_grad():
        assert not Linear.apply(random(2, 3), random(2, 3)).requires_grad
    assert not Linear.apply(random(2, 3, grad=False), random(2, 3, grad=False)).requires_grad


# ------------------------------------------------------------------------------------------------- gradcheck
def test_gradcheck_finds_a_wrong_derivative():
    wrong = custom(lambda g: g * 2.1)
    with pytest.raises(fc.autograd.GradcheckError, match="output 0 by input 0 do not agree"):
        gradcheck(wrong.apply, leaf(1.0, 2.0))
    assert gradcheck(wrong.apply, leaf(1.0), raise_exception=False) is False
    rng = np.random.default_rng(0)
    with pytest.raises(fc.autograd.GradcheckError, match="two backward passes"):
        gradcheck(custom(lambda g: g * rng.uniform()).apply, leaf(1.0))
    with pytest.warns(UserWarning, match="input 0 is float32"):
        gradcheck(lambda t: t * 2, leaf(1.0, dtype="float32"), eps=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="at least one input"):
        gradcheck(lambda t: t * 2, fc.ones(1))
    with pytest.raises(ValueError, match="no output"):
        gradcheck(lambda t: t.detach(), leaf(1.0))


def test_gradcheck_of_a_convolution():
    args = random(1, 2, 4, 4), random(3, 2, 3, 3), random(3)
    assert gradcheck(lambda *a: fc.nn.functional.conv2d(*a, padding=1), args)


# ------------------------------------------------------------------------------------------------- PyTorch
OPS = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "exp": lambda a, b: (a * 0.1).exp(),
    "view": lambda a, b: (a * 2).reshape(3, 2).reshape(2, 3),
    "row": lambda a, b: a[:1] + b,
    "same": lambda a, b: b,
}


@given(
    program=st.lists(
        st.tuples(st.sampled_from(sorted(OPS)), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8
    ),
    hooked=st.sets(st.integers(0, 9)),
    wanted=st.sets(st.integers(0, 9), min_size=1),
)
def test_random_graphs_have_pytorchs_gradients(program, hooked, wanted):
    """Hooks, retained gradients, grad() for any tensors, in graphs of any form."""
    torch = pytest.importorskip("torch")

    def run(library, make, grad):
        values = [make(np.arange(6.0).reshape(2, 3) / 7 + i) for i in range(2)]
        for name, i, j in program:
            values.append(OPS[name](values[i % len(values)], values[j % len(values)]))
        seen = []
        for i in sorted({i % len(values) for i in hooked}):
            values[i].register_hook(lambda g, i=i: seen.append((i, g.sum().item())) or g * 1.5)
            values[i].retain_grad()
        loss = sum((v * v).sum() for v in values[-2:])
        inputs = [values[i] for i in sorted({i % len(values) for i in wanted})]
        grads = grad(loss, inputs, retain_graph=True, allow_unused=True)
        seen.append("backward")
        loss.backward()
        results = [*grads, *(v.grad for v in values if v.is_leaf or v.retains_grad)]
        # the order of hooks differs where several are ready
        at = seen.index("backward")
        return (
            [None if g is None else np.asarray(g) for g in results],
            sorted(seen[:at]),
            sorted(seen[at + 1 :]),
        )

    mine = run(fc, lambda a: fc.tensor(a, requires_grad=True), fc.autograd.grad)
    theirs = run(torch, lambda a: torch.tensor(a, requires_grad=True), torch.autograd.grad)
    for got, want in zip(mine[0], theirs[0], strict=True):
        assert (got is None) == (want is None)
        if want is not None:
            np.testing.assert_allclose(got, want, rtol=1e-12)
    for got, want in zip(mine[1:], theirs[1:]):
        assert [i for i, _ in got] == [i for i, _ in want]
        np.testing.assert_allclose([g for _, g in got], [g for _, g in want], rtol=1e-12)


def test_copies_have_no_hooks():
    x = leaf(1.0)
    x.register_hook(lambda g: g * 2)
    twin = copy.deepcopy(x)
    (twin * 3).sum().backward()
    assert twin.grad.item() == 3


def test_a_node_keeps_its_name_after_backward():
    y = fc.ones(2, requires_grad=True) * 2
    before = repr(y.grad_fn)
    y.sum().backward()
    assert repr(y.grad_fn) == before == "<MulBackward0>"


def test_a_leaf_gets_its_gradient_as_soon_as_it_is_complete():
    """Its hooks run before the walk reaches older ops; a leaf that two ops use waits for both."""
    seen = []
    a, b, twice = (fc.ones(2, requires_grad=True) for _ in range(3))
    inner = a * twice
    y = (inner * b) * twice
    for name, t in {"a": a, "b": b, "twice": twice}.items():
        t.register_post_accumulate_grad_hook(lambda t, name=name: seen.append(name))
    inner.register_hook(lambda g: seen.append("inner"))
    y.sum().backward()
    assert seen == ["b", "inner", "a", "twice"]
    assert twice.grad.tolist() == [2.0, 2.0] and a.grad.tolist() == [1.0, 1.0]
