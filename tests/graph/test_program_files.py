"""Programs as files: what is saved is what is loaded, and damaged and hostile files are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import graph, nn
from fastconv.graph.encoding import Ref, decoded, encoded
from fastconv.graph.files import KEY
from fastconv.io import safetensors
from fastconv.nn import functional as F


class Everything(nn.Module):
    """Ops of every rule that nets for images use."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, output_padding=1, groups=2)
        self.norms = nn.Sequential(nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LocalResponseNorm(3))
        self.dense = nn.Linear(4, 5)
        self.scale = nn.Parameter(fc.randn(5))

    def forward(self, x, index):
        y = F.leaky_relu(self.conv(x), 0.1)
        y = self.norms(self.up(y))
        y = F.interpolate(F.max_pool2d(y, 2), scale_factor=2, mode="bilinear")
        y = F.pad(y, (1, 0, 2, 1), value=float("inf")).clamp(-3, 3)
        y = fc.cat([y, y.flip(3)], 1)[:, 1:5, ::2]
        y = F.avg_pool2d(y, 3, 2, 1, count_include_pad=False) + F.adaptive_max_pool2d(y, 3).mean()
        y = y.amax((2, 3)) + y.permute(0, 2, 3, 1).reshape(2, -1, 4)[:, 0]
        y = F.layer_norm(self.dense(y), (5,)) * self.scale + y.gather(1, index)
        y = fc.where(y > 0, y, y.exp() - 1)
        return {"scores": F.softmax(y, 1), "best": (y.argmax(1), tuple(y.topk(2, 1))), "n": 3}


def everything():
    return graph.trace(
        Everything().eval(), fc.randn(2, 3, 8, 8), fc.tensor([[0, 1, 2, 3, 0], [3, 3, 1, 0, 0]])
    )


def flat(structure):
    if isinstance(structure, dict):
        return flat(list(structure.values()))
    if isinstance(structure, (tuple, list)):
        return [leaf for part in structure for leaf in flat(part)]
    return [structure]


def test_what_is_saved_is_loaded(tmp_path, backend):
    program, path = everything(), tmp_path / "net.safetensors"
    program.save(path)
    loaded = graph.load(path)
    assert [(c.op, [v.shape for v in c.inputs]) for c in loaded.calls] == [
        (c.op, [v.shape for v in c.inputs]) for c in program.calls
    ]
    x, index = fc.randn(2, 3, 8, 8), fc.tensor([[3, 0, 2, 3, 0], [2, 3, 1, 0, 1]])
    with fc.backend(backend):
        want, got = program(x, index), loaded(x, index)
        optimized = graph.optimize(loaded)(x, index)
    assert got.keys() == want.keys() and got["n"] == 3
    for a, b, c in zip(flat(got), flat(want), flat(optimized), strict=True):
        if isinstance(a, fc.Tensor):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(c.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)
    assert set(fc.load(path)) >= {"conv.weight", "scale"}  # for any reader of safetensors


def test_optimized_programs_of_other_engines(tmp_path):
    """What an engine has packed is refused; the portable passes can be saved."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval()
    x = fc.randn(1, 3, 30, 30)
    with fc.backend("cpu"):
        program = graph.trace(net, x)
        with pytest.raises(ValueError, match=r"Program.save: weights are packed for an engine; save what"):
            graph.optimize(program).save(tmp_path / "a")
        portable = graph.optimize(program, without=graph.FOR_ENGINE)
        portable.save(tmp_path / "b")
        loaded = graph.load(tmp_path / "b")
        assert [c.op for c in loaded.calls] == ["conv_fwd", "unary_fwd", "conv_fwd"]
        np.testing.assert_allclose(loaded(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_loaded_program_as_a_module(backend, tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU()).eval()
    x = fc.randn(1, 3, 8, 8)
    graph.trace(net, x).save(tmp_path / "p")
    module = graph.GraphModule(graph.load(tmp_path / "p"))
    names = {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert set(module.state_dict()) == names
    with fc.backend(backend):
        fast = fc.optimize_for_inference(module)
        for _ in range(3):
            x = fc.randn(1, 3, 8, 8)
            np.testing.assert_allclose(fast(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)
        fast.get_buffer("0.bias").add_(1)
        net[0].bias.data.add_(1)
        np.testing.assert_allclose(fast(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)


def test_inputs_that_do_not_fit():
    program = graph.trace(nn.Linear(3, 2).eval(), fc.randn(2, 3))
    with pytest.raises(
        ValueError, match="Program: input 0 must be 2x3 float32, got 4x3 float32; a program is"
    ):
        program(fc.randn(4, 3))
    with pytest.raises(ValueError, match="Program: expected 1 inputs, got 2"):
        program(fc.randn(2, 3), fc.randn(2, 3))
    with pytest.raises(RuntimeError, match="Program: input 0 requires a gradient"):
        program(fc.randn(2, 3).requires_grad_())
    with pytest.raises(ValueError, match="trace: Linear is in training mode; call net.eval"):
        graph.trace(nn.Linear(3, 2), fc.randn(2, 3))


@pytest.mark.parametrize(
    "x",
    [
        1,
        -2.5,
        float("inf"),
        "name",
        None,
        True,
        (1, (2, [3, Ref(4)])),
        slice(None, 3, -1),
        (Ellipsis, None),
        np.dtype("int64"),
        {"a": Ref(1), 2: (3,)},
    ],
)
def test_arguments_as_json(x):
    again = decoded(json.loads(json.dumps(encoded(x))))
    assert repr(again) == repr(x) and type(again) is type(x)


# ------------------------------------------------------------------------------------ damaged and hostile
def written(tmp_path, change, what=""):
    """The file of a small program, whose JSON ``change`` has changed."""
    path = tmp_path / "p.safetensors"
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 2)).eval()
    graph.trace(net, fc.randn(1, 2, 4, 4)).save(path)
    with open(path, "rb") as f:
        arrays, metadata = safetensors.contents(f, path.stat().st_size)
    text = json.loads(metadata[KEY])
    changed = change(text)
    text = changed if what == "a list" else text
    with open(path, "wb") as f:
        safetensors.write(f, arrays, json.dumps(text), KEY)
    return path


def conv(text):
    return next(call for call in text["calls"] if call[0] == "conv_fwd")


def fields(text):
    return conv(text)[1]["tuple"][3]["fields"]


HOSTILE = {
    "version": (lambda t: t.update(version=2), "the program has the version 2, and 1 is read"),
    "op that writes": (lambda t: conv(t).__setitem__(0, "setitem"), "the op 'setitem' is not one that"),
    "op of Python": (lambda t: conv(t).__setitem__(0, "__class__"), "the op '__class__' is not one that"),
    "spec with a larger result": (
        lambda t: fields(t).update(out_size={"tuple": [400, 400]}),
        "does not describe these arrays",
    ),
    "spec with more channels": (lambda t: fields(t).update(c_out=4096), "does not describe these arrays"),
    "spec with negative padding": (
        lambda t: fields(t).update(padding={"tuple": [{"tuple": [-9, 1]}, {"tuple": [1, 1]}]}),
        "padding must be",
    ),
    "spec with a float": (lambda t: fields(t).update(groups=1.0), "groups"),
    "spec without a field": (lambda t: fields(t).pop("groups"), "ConvSpec must have the fields batch"),
    "spec of another kind": (
        lambda t: conv(t)[1]["tuple"][3].update(spec="Popen"),
        "there is no spec 'Popen'",
    ),
    "value from the future": (
        lambda t: conv(t)[1]["tuple"].__setitem__(0, {"value": 99}),
        "value 99 is used before it is computed",
    ),
    "negative value": (
        lambda t: conv(t)[1]["tuple"].__setitem__(0, {"value": -1}),
        "value -1 is used before",
    ),
    "input of another shape": (
        lambda t: t["inputs"].__setitem__(0, [[1, 2, 400, 4], "float32"]),
        "does not describe",
    ),
    "huge input": (lambda t: t["inputs"].__setitem__(0, [[1 << 39, 4], "float32"]), "is too large"),
    "empty input": (lambda t: t["inputs"].__setitem__(0, [[0, 2, 4, 4], "float32"]), "a shape was expected"),
    "dtype": (lambda t: t["inputs"].__setitem__(0, [[1, 2, 4, 4], "object"]), "'object' is no dtype"),
    "algorithm": (
        lambda t: conv(t)[1]["tuple"].__setitem__(4, "winograd"),
        "a file must not choose algorithms",
    ),
    "activation": (
        lambda t: conv(t)[1]["tuple"].append(None) or conv(t)[1]["tuple"].append({"tuple": ["isnan", 0, 0]}),
        "activation 'isnan'",
    ),
    "constants": (lambda t: t["constants"].pop(), "the names of the constants are not those of the arrays"),
    "number of results": (lambda t: conv(t).__setitem__(2, 2), "2 results, but 1 are expected"),
    "argument": (lambda t: conv(t)[1]["tuple"].append({"eval": "1"}), "is no argument of a call"),
    "no calls": (lambda t: t.pop("calls"), "'calls'"),
    "a list": (lambda t: [1], "the program is no JSON object"),
    "too many arguments": (lambda t: conv(t)[1]["tuple"].extend([None] * 9), "positional arguments"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files(what, tmp_path):
    change, why = HOSTILE[what]
    path = written(tmp_path, change, what)
    with pytest.raises(ValueError, match="graph.load: expected a file that Program.save wrote") as e:
        graph.load(path)
    assert why in str(e.value) and "Nothing in it was executed" in str(e.value)


def test_damaged_files(tmp_path):
    path = tmp_path / "p"
    everything().save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[: len(whole) // 2], whole[:-1], b"PK" + whole, b"\0" * 99):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="graph.load: expected a file that Program.save wrote"):
            graph.load(path)
    fc.save({"w": fc.ones(3)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="its metadata have no text 'fastconv.program'"):
        graph.load(tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError):
        graph.load(tmp_path / "absent")


@pytest.mark.parametrize(
    "op, args, why",
    [
        ("as_strided", lambda v: (v(4), (1 << 20,), (4,)), "not one that programs in files may call"),
        ("gather", lambda v: (v(4, 4), v(4, 9, dtype="int64"), 0), "gather"),
        ("getitem", lambda v: (v(4), 9), "out of bounds"),
        ("getitem", lambda v: (v(4), "__array__"), "index"),
        ("reshape", lambda v: (v(4), (5,)), "reshape of"),
        ("reshape", lambda v: (v(4), (-1, 0)), "shape was expected"),
        ("permute", lambda v: (v(4, 4), (0, 0)), "permute of 2 axes"),
        ("broadcast_to", lambda v: (v(4), (3,)), "do not broadcast"),
        ("concatenate", lambda v: ([v(4), v(4, 4)], 0), "differ in another axis"),
        ("pad_fwd", lambda v: (v(4), ((4, 0),), "reflect", 0.0), "padding (4, 0) of 4 elements"),
        ("pad_fwd", lambda v: (v(4), ((-3, -1),), "constant", 0.0), "padding (-3, -1) of 4 elements"),
        ("binary_fwd", lambda v: ("add", v(4), v(3)), "do not broadcast"),
        ("binary_fwd", lambda v: ("system", v(4), v(4)), "there is no binary_fwd 'system'"),
        ("unary_fwd", lambda v: ("exp", v(4), "x"), "a number was expected"),
        ("batch_norm_fwd", lambda v: (v(1, 4), v(3), v(4), None, None), "an array of 4 float32 was expected"),
        ("linear_fwd", lambda v: (v(1, 4), v(2, 3), None), "an array of 2x4 float32 was expected"),
        ("matmul", lambda v: (v(1, 4), v(3, 4)), "matmul"),
        ("group_norm_fwd", lambda v: (v(1, 4), 3, None, None, 1e-5), "group_norm_fwd"),
        ("topk", lambda v: (v(4), 5, 0, True), "topk of 5 elements"),
        ("softmax_fwd", lambda v: (v(4), 1, False), "1 is no axis of 1 dimensions"),
        ("reduce_fwd", lambda v: ("sum", v(4, 4), (0, 0), False), "an axis occurs twice"),
        ("zeros", lambda v: ((1 << 30, 1 << 30), np.dtype("float32")), "is too large"),
    ],
)
def test_rules_refuse(op, args, why):
    def value(*shape, dtype="float32"):
        return graph.Value(shape, np.dtype(dtype))

    with pytest.raises((ValueError, TypeError)) as e:
        graph.rules.results(op, args(value))
    assert why in str(e.value)


def test_positions_of_maxima(tmp_path):
    """Engines choose their dtype, so only a cast reads them."""
    x = fc.randn(1, 2, 4, 4)
    program = graph.trace(lambda x: F.max_pool2d(x, 2, return_indices=True)[1] + 1, x)
    program.save(tmp_path / "a")
    assert graph.load(tmp_path / "a")(x).dtype == fc.int64
    pooled, *_ = program.calls
    index, copied = pooled.result[1], graph.Value(pooled.result[1].shape, pooled.result[1].dtype)
    graph.Program(program.inputs, [pooled, graph.Call("copy", (index,), copied)], copied).save(tmp_path / "b")
    with pytest.raises(ValueError, match="reads positions of maxima, which only a cast may read"):
        graph.load(tmp_path / "b")
