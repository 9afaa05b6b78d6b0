"""Programs: what capture notes, what passes make of it, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import graph, nn
from fastconv.backends import load
from fastconv.nn import functional as F


class Block(nn.Module):
    """Written as users write it: functions, ``+=``, a gate, branches on Python values."""

    def __init__(self, c, gate=True):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.conv2, self.norm2 = nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c)
        self.squeeze, self.gate = nn.Linear(c, c), gate

    def forward(self, x):
        y = F.relu6(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.gate:
            y = y * F.hardsigmoid(self.squeeze(y.mean((2, 3))))[:, :, None, None]
        y += x
        return F.silu(y)


class Two(nn.Module):
    """Two inputs, several outputs, a layer used twice, concatenation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x, y):
        a, b = self.conv(x), self.conv(y)
        both = fc.cat([a, b], 1)
        return {"both": both, "parts": [a.sum(), (b, 7)]}


def with_statistics(net):
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.copy_(fc.randn(*m.running_mean.shape))
            m.running_var.copy_(fc.rand(*m.running_var.shape) + 0.5)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.uniform_(m.bias, -1, 1)
    return net.eval()


NETS = {
    "gate": (lambda: Block(8), [(2, 8, 9, 7)]),
    "no gate": (lambda: Block(8, gate=False), [(2, 8, 9, 7)]),
    "two": (Two, [(2, 3, 5, 6), (1, 3, 5, 6)][:1] * 2),
    "chain": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 6, 5), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6 * 36, 10))
        ),
        [(4, 1, 16, 16)],
    ),
    "dense": (lambda: nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.ReLU()).eval(), [(3, 7)]),
}


def flat(structure):
    if isinstance(structure, dict):
        return flat(list(structure.values()))
    if isinstance(structure, (tuple, list)):
        return [leaf for part in structure for leaf in flat(part)]
    return [structure]


@pytest.mark.parametrize("without", [None, *graph.passes.PASSES])
@pytest.mark.parametrize("name", NETS)
def test_programs_compute_what_nets_compute(name, without, backend):
    """Captured, the bits are the same; after passes, each left out once, the numbers are."""
    make, shapes = NETS[name]
    engine, net = load(backend), with_statistics(make())
    inputs = [fc.randn(*s).array for s in shapes]
    program, _ = graph.capture(net, inputs)
    other = [fc.randn(*s) for s in shapes]
    want = flat(net(*other))
    again, exact = graph.capture(net, [t.array for t in other])
    assert [c.op for c in again.calls] == [c.op for c in program.calls]
    plain = flat(program.run(engine, *[t.array for t in other]))
    for a, b in zip(plain, flat(exact), strict=True):
        np.testing.assert_array_equal(a, getattr(b, "array", b))
    faster = graph.optimize(program, engine, without=() if without is None else (without,))
    for a, b in zip(flat(faster.run(engine, *[t.array for t in other])), want, strict=True):
        np.testing.assert_allclose(a, getattr(b, "array", b), rtol=1e-5, atol=1e-5)


def test_what_is_left_of_a_block():
    with fc.backend("cpu"):
        net = with_statistics(Block(8, gate=False))
        program, _ = graph.capture(net, [fc.randn(2, 8, 9, 7).array])
        faster = graph.optimize(program, load("cpu"))
    assert [(c.op, c.args[-1]) for c in faster.calls] == [
        ("conv_fwd", ("hardtanh", 0.0, 6.0)),
        ("conv_fwd", ("silu", 0.0, 0.0)),
    ]
    text = str(faster)
    assert "constant 8x8x3x3" in text and "return %2" in text and "2x8x9x7 float32" in text


def test_a_value_that_is_read_twice_is_kept():
    """No call is merged with one whose result something else reads."""
    conv = nn.Conv2d(3, 3, 1)

    def forward(x):
        y = conv(x)
        return F.relu(y) + y

    program, _ = graph.capture(forward, [fc.randn(1, 3, 4, 4).array])
    faster = graph.optimize(program, load("cpu"))
    assert [c.op for c in faster.calls] == ["conv_fwd", "unary_fwd", "binary_fwd"]


def test_changes_in_place():
    """``+=`` is an op like others; a view from before it must not be used afterwards."""

    def own(x):
        y = x * 2
        y += x
        return y + 1

    def through_a_view(x):
        y = x * 2
        first = y[0]
        y += 1
        return first + y

    engine, x = load("numpy"), fc.randn(2, 3)
    with fc.backend("numpy"):
        program, _ = graph.capture(own, [x.array])
        np.testing.assert_array_equal(program.run(engine, x.array), own(x).numpy())
        with pytest.raises(graph.CannotCapture, match="a view of a tensor .3. is used after"):
            graph.capture(through_a_view, [x.array])


def branches(x):
    return x if x.sum() > 0 else -x


TABLE = nn.Embedding(3, 2)
REFUSED = {
    "the numbers of a tensor (scalar) are read by Tensor.__bool__": branches,
    "the numbers of a tensor (scalar) are read by Tensor.item": lambda x: x * x.sum().item(),
    "the numbers of a tensor (2x3) are read by Tensor.numpy": lambda x: x * len((x + 1).numpy()),
    "the numbers of a tensor (3) are read by Embedding": lambda x: TABLE(x[0].long()),
    "an input or a weight (2x3) is changed in place by Tensor.add_": lambda x: x.add_(1),
    "a part of a tensor changes in place by Tensor.__setitem__": lambda x: (
        (y := x * 2).__setitem__(0, 1.0) or y
    ),
    "running statistics change; call net.eval(), because the net is in training mode": (
        lambda x: nn.BatchNorm1d(3)(x)
    ),
    "random numbers are drawn by dropout": lambda x: F.dropout(x),
    "random numbers are drawn by randn": lambda x: x + fc.randn(3),
    "memory of a tensor (3) is read past the engine": lambda x: fc.Tensor((x * 2).array[0]) + 1,
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_captured(why, backend):
    """The message says what, by which function, and in which line of the user's code."""
    with pytest.raises(graph.CannotCapture) as e:
        graph.capture(REFUSED[why], [fc.randn(2, 3).array])
    what, _, where = str(e.value).partition(", at ")
    assert what == why
    file, line, source = where.split(":", 2)
    assert file == __file__
    assert source.strip() == Path(__file__).read_text().splitlines()[int(line) - 1].strip()


def test_where_a_branch_is():
    x = fc.randn(2, 3)
    with pytest.raises(graph.CannotCapture, match="return x if x.sum.. > 0 else -x$"):
        graph.trace(branches, x)
    with pytest.raises(
        graph.CannotCapture, match="a result is neither a tensor nor a tuple, list or dict: func"
    ):
        graph.trace(lambda x: branches, x)


def test_constants_are_computed_once():
    net = with_statistics(Block(8))
    engine, constants = load("cpu"), graph.Constants()
    with fc.backend("cpu"):
        packed = []
        for n in (1, 2):
            program, _ = graph.capture(net, [fc.randn(n, 8, 6, 6).array])
            faster = graph.optimize(program, engine, constants)
            packed.append([c.args[1].constant for c in faster.calls if c.op == "conv_fwd"])
    assert len(packed[0]) == 3 and all(a is b for a, b in zip(*packed))


def test_recordings_on_other_inputs():
    """Kernels replayed for new inputs, beside ops that work with NumPy: large arrays and small ones."""
    engine = load("cpu")
    layers = nn.GroupNorm(4, 8), nn.InstanceNorm2d(8), nn.Softmax(1), nn.Upsample(scale_factor=2)
    with fc.backend("cpu"):
        for size in (3, 40):
            for layer in (*layers, Block(8)):
                net = with_statistics(nn.Sequential(nn.Conv2d(3, 8, 3), layer, nn.Conv2d(8, 4, 1)))
                x = fc.randn(2, 3, size + 2, size + 2)
                program = graph.optimize(graph.capture(net, [x.array])[0], engine)
                program.run(engine, x.array)
                replay = engine.record(program.run, engine, [x.array])
                for _ in range(3):
                    x = fc.randn(2, 3, size + 2, size + 2)
                    np.testing.assert_allclose(replay(x.array), net(x).numpy(), rtol=1e-4, atol=1e-5)


def test_one_tensor_as_two_inputs():
    """The program must not take the two for one value."""
    net, a, b = Two().eval(), fc.randn(2, 3, 5, 6), fc.randn(2, 3, 5, 6)
    with fc.backend("cpu"):
        for inputs in ((a.array, a.array), (a.array, a.array[:, :, ::-1])):
            program, _ = graph.capture(net, inputs)
            got = program.run(load("cpu"), a.array, b.array)
            np.testing.assert_array_equal(got["both"], net(a, b)["both"].numpy())


def test_scratch_of_a_chain_is_no_result():
    """Recordings compare all results with those of the ops, so none may hold what was never written."""
    engine = load("cpu")
    net = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)).eval()
    x = fc.randn(4, 8, 4, 4).array
    with fc.backend("cpu"):
        program = graph.optimize(graph.capture(net, [x])[0], engine)
    assert [c.op for c in program.calls] == ["fused_chain_fwd"]
    plan, _, weights, biases, _ = program.calls[0].args
    arrays = [[v.constant for v in values] for values in (weights, biases)]
    assert engine.fused_chain_fwd(plan, x, *arrays, False)[1] is None
    assert engine.record(program.run, engine, [x]) is not None
