"""Hooks of modules: what they are called with and may change, in nets of every kind, as in PyTorch."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref

import conftest
import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim, train
from fastconv.nn.hooks import hooked

backend = conftest.backend


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def scenarios():
    """Programs with PyTorch's names; each returns what can be compared."""

    def order(nn, make, log):
        m = nn.ReLU()
        m.register_forward_pre_hook(lambda m, a: log("pre 1", a))
        m.register_forward_pre_hook(lambda m, a: log("pre 0", a), prepend=True)
        m.register_forward_hook(lambda m, a, y: log("post 1", a, y))
        m.register_forward_hook(lambda m, a, y: log("post 0", a, y), prepend=True)
        m(make([-1.0, 2.0]))

    def replaced(nn, make, log):
        m = nn.ReLU()
        m.register_forward_pre_hook(lambda m, a: a[0] * 2)
        m.register_forward_pre_hook(lambda m, a: (a[0] + 1,))
        m.register_forward_hook(lambda m, a, y: y * 10)
        m.register_forward_hook(lambda m, a, y: log(a, y))
        log(m(make([-1.0, 2.0])))

    def keywords(nn, make, log):
        class Scale(nn.Module):
            def forward(self, x, by=1):
                return x * by

        m = Scale()
        m.register_forward_pre_hook(lambda m, a, k: (a, {"by": k["by"] * 2}), with_kwargs=True)
        m.register_forward_hook(lambda m, a, k, y: log(k["by"]) or y + 1, with_kwargs=True)
        log(m(make([1.0, 2.0]), by=3))

    def removed(nn, make, log):
        m = nn.ReLU()
        handles = [m.register_forward_hook(lambda m, a, y, i=i: log(i)) for i in range(3)]
        handles[1].remove()
        m(make([1.0]))
        with handles[0]:
            m(make([1.0]))
        handles[1].remove()
        m(make([1.0]))

    def gradients(nn, make, log):
        m = nn.Tanh()
        m.register_full_backward_hook(lambda m, gx, gy: log("backward", gx, gy))
        m.register_full_backward_pre_hook(lambda m, gy: log("pre", gy))
        x = make([0.5, 2.0], True)
        (m(x * 2) * 3).sum().backward()
        log(x.grad)

    def new_gradients(nn, make, log):
        m = nn.Tanh()
        m.register_full_backward_pre_hook(lambda m, gy: (gy[0] * 10,))
        m.register_full_backward_hook(lambda m, gx, gy: (gx[0] + 1,))
        m.register_full_backward_hook(lambda m, gx, gy: log(gx, gy), prepend=True)
        m.register_full_backward_hook(lambda m, gx, gy: log(gx, gy) or (gx[0] * 2,))
        x = make([0.5, 2.0], True)
        m(x).sum().backward()
        log(x.grad)

    def several(nn, make, log):
        class Mix(nn.Module):
            def forward(self, x, number, y, z):
                return x * y * number, x + y + z, "text"

        m = Mix()
        m.register_full_backward_hook(lambda m, gx, gy: log(gx, gy))
        m.register_full_backward_pre_hook(lambda m, gy: log(gy))
        x, y = make([1.0, 2.0], True), make([3.0, 4.0], True)
        a, b, text = m(x, 5, y, make([1.0, 1.0]))
        log(a, b, text)
        (a * 2).sum().backward()
        log(x.grad, y.grad)

    def no_input_gradient(nn, make, log):
        m = nn.Linear(2, 1)
        m.register_full_backward_hook(lambda m, gx, gy: log(gx, gy))
        m.register_full_backward_pre_hook(lambda m, gy: (gy[0] * 2,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            m(make([[1.0, 2.0]])).sum().backward()
        log(m.weight.grad, m.bias.grad)

    def unused(nn, make, log):
        class First(nn.Module):
            def forward(self, x, y):
                return x * 2

        m = First()
        m.register_full_backward_hook(lambda m, gx, gy: log(gx, gy))
        x, y = make([1.0], True), make([2.0], True)
        m(x, y).sum().backward()
        log(x.grad, y.grad)

    def no_gradient(nn, make, log):
        m = nn.ReLU()
        m.register_full_backward_hook(lambda m, gx, gy: log("never"))
        log(m(make([1.0])).requires_grad)

    def nested(nn, make, log):
        inner = nn.Sequential(nn.ReLU(), nn.Tanh())
        m = nn.Sequential(inner, nn.Sigmoid())
        for name, part in m.named_modules():
            part.register_forward_pre_hook(lambda m, a, name=name: log("in", name, a))
            part.register_forward_hook(lambda m, a, y, name=name: log("out", name, y))
            part.register_full_backward_hook(lambda m, gx, gy, name=name: log("back", name, gx, gy))
        m(make([-1.0, 2.0], True) * 1).sum().backward()

    return {name: f for name, f in locals().items()}


@pytest.mark.parametrize("name", scenarios())
def test_hooks_do_what_pytorchs_do(name, backend):
    torch = pytest.importorskip("torch")

    def plain(value):
        if isinstance(value, (tuple, list)):
            return [plain(v) for v in value]
        return np.round(value.tolist(), 5).tolist() if hasattr(value, "tolist") else value

    def run(nn, make, seed):
        logged = []
        seed()
        scenarios()[name](nn, make, lambda *values: logged.append(plain(values)))
        return logged

    mine = run(nn, lambda v, g=False: fc.tensor(v, requires_grad=g), lambda: fc.manual_seed(0))
    theirs = run(torch.nn, lambda v, g=False: torch.tensor(v, requires_grad=g), lambda: None)
    assert mine == theirs and mine


def test_always_call_sees_a_forward_that_fails():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError("no")

    m, seen = Fails(), []
    m.register_forward_hook(lambda *a: seen.append("ordinary"))
    m.register_forward_hook(lambda m, a, y: seen.append(y), always_call=True)
    m.register_forward_hook(lambda m, a, k, y: 1 / 0, always_call=True, with_kwargs=True)
    with pytest.raises(ValueError, match="no"), pytest.warns(UserWarning, match="ZeroDivisionError"):
        m(fc.ones(1))
    assert seen == [None]


@pytest.mark.parametrize(
    ("register", "hook", "match"),
    [
        (
            "forward_pre_hook",
            lambda m, a, k: a,
            "forward pre-hook: expected None or a tuple of args and kwargs",
        ),
        (
            "full_backward_hook",
            lambda m, gx, gy: (gx[0], None),
            "backward hook: ReLU has 1 inputs.* 2 gradients",
        ),
        ("full_backward_pre_hook", lambda m, gy: (), "backward pre-hook: ReLU has 1 outputs.* 0 gradients"),
    ],
)
def test_what_a_hook_must_not_return(register, hook, match):
    m = nn.ReLU()
    options = {"with_kwargs": True} if register == "forward_pre_hook" else {}
    getattr(m, f"register_{register}")(hook, **options)
    with pytest.raises(RuntimeError, match=match):
        m(fc.ones(1, requires_grad=True)).sum().backward()


def test_a_gradient_for_inputs_that_need_none_is_refused():
    m = nn.Linear(1, 1)
    m.register_full_backward_hook(lambda m, gx, gy: gy)
    with pytest.raises(RuntimeError, match="no input of Linear requires a gradient"):
        m(fc.ones(1, 1)).sum().backward()


def test_a_result_that_backward_hooks_cannot_see():
    class Named(nn.Module):
        def forward(self, x):
            return {"y": x * 2}

    m = Named()
    m.register_full_backward_hook(print)
    with pytest.warns(UserWarning, match="Named: backward hooks .* forward returned dict"):
        m(fc.ones(1, requires_grad=True))


def test_a_hook_is_a_function():
    with pytest.raises(TypeError, match="register_forward_hook: expected a function, got 3"):
        nn.ReLU().register_forward_hook(3)


# ------------------------------------------------------------------------------------------ copies, memory
def _double(module, args, y):
    return y * 2


def test_copies_and_pickles_keep_hooks_of_their_own():
    m = net()
    m.handle = m[0].register_forward_hook(_double)
    x = fc.ones(1, 3)
    want = m(x).numpy()
    twin, loaded = copy.deepcopy(m), pickle.loads(pickle.dumps(m))
    m.handle.remove()
    plain = m(x).numpy()
    assert not np.allclose(plain, want)
    for other in (twin, loaded):
        np.testing.assert_array_equal(other(x), want)
        other.handle.remove()
        np.testing.assert_array_equal(other(x), plain)


def test_a_handle_does_not_keep_its_module():
    m = nn.ReLU()
    handle, gone = m.register_forward_hook(print), weakref.ref(m)
    del m
    gc.collect()
    assert gone() is None
    handle.remove()


def test_a_net_without_hooks_has_no_table():
    m = nn.ReLU()
    assert "_hook_table" not in vars(m) and not hooked(m)
    handle = m.register_forward_hook(print)
    assert hooked(m)
    handle.remove()
    assert not hooked(m)
    m.register_state_dict_post_hook(print)
    assert not hooked(m)


# ------------------------------------------------------------------------------------- fused and recorded
def lenet():
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(36, 3))


def watch(module, seen, name=""):
    return module.register_forward_hook(lambda m, a, y: seen.append((name, tuple(y.shape))))


def test_a_layer_with_a_hook_is_not_fused(backend):
    m, seen = lenet(), []
    x = fc.rand(2, 1, 12, 12)
    want = m(x).numpy()
    for i in (0, 1, 3):
        watch(m[i], seen, i)
    np.testing.assert_allclose(m(x), want, rtol=1e-5, atol=1e-6)
    assert seen == [(0, (2, 4, 10, 10)), (1, (2, 4, 10, 10)), (3, (2, 4, 3, 3))]
    gradients = []
    m[3].register_full_backward_hook(lambda m, gx, gy: gradients.append((gx[0].shape, gy[0].shape)))
    m(x).sum().backward()
    assert gradients == [((2, 4, 5, 5), (2, 4, 3, 3))]


def test_an_optimized_net_calls_hooks(backend):
    """Hooks of a module in the net have a price: the net runs layer by layer."""
    m, seen = lenet().eval(), []
    watch(m[1], seen, "before")
    fast = fc.optimize_for_inference(m)
    x = fc.rand(2, 1, 12, 12)
    with fc.no_grad():
        want = m(x).numpy()
        seen.clear()
        for _ in range(4):
            np.testing.assert_allclose(fast(x), want, rtol=1e-5, atol=1e-6)
        assert [name for name, _ in seen] == ["before"] * 4
        plain = fc.optimize_for_inference(lenet().eval())
        for _ in range(3):
            plain(x)
        seen.clear()
        handles = [watch(plain[i], seen, i) for i in (0, 1, 3)] + [watch(plain, seen, "net")]
        for _ in range(3):
            plain(x)
        assert [name for name, _ in seen] == [0, 1, 3, "net"] * 3
        for h in handles:
            h.remove()
        for _ in range(3):
            plain(x)
        assert len(seen) == 12
        programs = plain.forward.programs
        assert programs
        watch(plain, seen, "net again")
        plain(x), plain(x)
        assert seen[12:] == [("net again", (2, 3))] * 2 and len(plain.forward.programs) == len(programs) + 1


def test_hooks_in_a_residual_block(backend):
    block = fc.models.resnet18(num_classes=2).layer1
    seen = []
    fast = fc.optimize_for_inference(block.eval())
    x = fc.rand(1, 64, 8, 8)
    with fc.no_grad():
        want = fast(x).numpy()
        watch(fast[0].conv1, seen, "conv1")
        watch(fast[0].bn2, seen, "bn2")
        with pytest.warns(match=r"cannot be captured as a program \(0.conv1 has hooks\)"):
            np.testing.assert_allclose(fast(x), want, rtol=1e-4, atol=1e-5)
    assert [name for name, _ in seen] == ["conv1", "bn2"]


def test_summary_and_profile_call_hooks(backend):
    m, seen = net(), []
    watch(m[1], seen, "relu")
    fc.summary(m, (1, 3))
    assert seen == [("relu", (1, 4))]
    fc.profile(m, fc.ones(1, 3))
    assert len(seen) > 1


def test_fit_calls_hooks(backend):
    m, seen = net(), []
    watch(m[0], seen, "linear")
    batches = [(np.ones((4, 3), np.float32), np.array([0, 1, 0, 1]))] * 3
    train.fit(m, batches, epochs=2, progress=False, optimizer=optim.SGD(m.parameters(), lr=0.1))
    assert len(seen) == 6


# ------------------------------------------------------------------------------------------------- states
def test_state_dict_hooks():
    m = net()
    m[0].register_state_dict_pre_hook(lambda m, prefix, keep: calls.append((prefix, keep)))
    m[0].register_state_dict_post_hook(lambda m, state, prefix, meta: state.update({f"{prefix}extra": 3}))
    calls: list = []
    state = m.state_dict()
    assert state["0.extra"] == 3 and calls == [("0.", False)]
    m[2].register_state_dict_post_hook(lambda m, state, prefix, meta: state)
    with pytest.raises(RuntimeError, match="post-hook .* must return None"):
        m.state_dict()


def test_load_state_dict_hooks():
    m = net()
    old = {f"net.{k}" if k.startswith("2") else k: v for k, v in net().state_dict().items()}

    def rename(module, state, prefix, meta, strict, missing, unexpected, errors):
        assert module is m[2] and prefix == "2." and strict
        for name in ("weight", "bias"):
            state[prefix + name] = state.pop(f"net.{prefix}{name}")

    m[2].register_load_state_dict_pre_hook(rename)
    m.load_state_dict(old)
    np.testing.assert_array_equal(m[2].weight, old["net.2.weight"])
    assert "net.2.weight" in old  # a copy was changed

    other, seen = net(), []
    state = other.state_dict()
    del state["0.bias"]
    state["more"] = fc.ones(1)

    def forgive(module, keys):
        seen.append((list(keys.missing_keys), list(keys.unexpected_keys)))
        keys.missing_keys.clear()
        keys.unexpected_keys.remove("more")

    other[1].register_load_state_dict_post_hook(forgive)
    other.load_state_dict(state)
    assert seen == [(["0.bias"], ["more"])]
    plain = net()
    plain[0].register_load_state_dict_post_hook(lambda m, keys: None)
    with pytest.raises(ValueError, match="missing: 0.bias\n.*unexpected: more"):
        plain.load_state_dict(state)


def test_what_a_load_pre_hook_reports_is_refused():
    m = net()
    m[0].register_load_state_dict_pre_hook(lambda *args: args[-1].append("too old"))
    with pytest.raises(ValueError, match="load_state_dict: .*\n  too old"):
        m.load_state_dict(net().state_dict())


def test_names_that_a_users_module_has_are_its_own():
    class Cam(nn.Module):
        def __init__(self):
            super().__init__()
            self._hooks, self.hooks, self.changed, self.table = [], [], 0, {}
            self.conv = nn.Conv2d(1, 1, 3)
            self._hooks.append(self.conv.register_forward_hook(self._save))

        def _save(self, module, args, y):
            self.changed += 1

        def _load(self):
            return 1

        def forward(self, x):
            return self.conv(x)

    with fc.backend("numpy"):
        m = Cam()
        m.load_state_dict(m.state_dict())
        m.register_forward_hook(lambda *args: None)
        m(fc.ones(1, 1, 3, 3))
    assert m.changed == 1 and m._load() == 1
