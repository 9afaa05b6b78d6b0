"""Loaded graphs: names, gradients, shapes that are computed, training, optimized nets."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fastconv as fc

pytest.importorskip("onnx.checker")
import onnx.reference  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

F32, I64 = TensorProto.FLOAT, TensorProto.INT64


def model(nodes, inputs, outputs, weights=(), opset=18):
    """A model; ``inputs`` and ``outputs`` are ``name -> shape`` or ``name -> (type, shape)``."""

    def about(values):
        for name, v in values.items():
            kind, shape = v if isinstance(v, tuple) else (F32, v)
            yield helper.make_tensor_value_info(name, kind, shape)

    initialisers = [numpy_helper.from_array(a, name) for name, a in dict(weights).items()]
    graph = helper.make_graph(nodes, "g", list(about(inputs)), list(about(outputs)), initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def rand(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def small_net(batch="n"):
    """Conv, BatchNorm, Relu, then a dense layer, with a shape that is computed."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Shape", ["c"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["rows"], axis=0),
        helper.make_node("Unsqueeze", ["rows", "axes"], ["rows1"]),
        helper.make_node("Concat", ["rows1", "minus"], ["to"], axis=0),
        helper.make_node("Reshape", ["c", "to"], ["d"]),
        helper.make_node("Gemm", ["d", "1", "class"], ["y"], transB=1),
    ]
    weights = {
        "conv.weight": rand(4, 3, 3, 3),
        "conv.bias": rand(4),
        "bn.scale": rand(4),
        "bn.bias": rand(4),
        "bn.mean": rand(4),
        "bn.var": rand(4) ** 2 + 0.5,
        "1": rand(5, 4 * 36),
        "class": rand(5),
        "zero": np.array(0),
        "axes": np.array([0]),
        "minus": np.array([-1]),
    }
    return model(nodes, {"x": [batch, 3, 6, 6]}, {"y": [batch, 5]}, weights)


def reference(proto, *arrays):
    ready = onnx.reference.ReferenceEvaluator(proto)
    return ready.run(None, dict(zip([i.name for i in proto.graph.input], arrays)))


# ------------------------------------------------------------------------------------------------- parameters
def test_float_initialisers_are_parameters_under_valid_names():
    net = fc.onnx.load(small_net())
    names = [n for n, _ in net.named_parameters()]
    assert names == ["conv_weight", "conv_bias", "bn_scale", "bn_bias", "_1", "_class"]
    assert [n for n, _ in net.named_buffers()] == ["bn_mean", "bn_var"]
    assert list(net.state_dict()) == [*names, "bn_mean", "bn_var"]


def test_names_that_are_equal_after_the_change_stay_apart():
    nodes = [helper.make_node("Add", ["x", "a.b"], ["s"]), helper.make_node("Mul", ["s", "a_b"], ["y"])]
    net = fc.onnx.load(model(nodes, {"x": [2]}, {"y": [2]}, {"a.b": rand(2), "a_b": rand(2) + 1}))
    assert [n for n, _ in net.named_parameters()] == ["a_b", "a_b_2"]
    x = rand(2)
    np.testing.assert_allclose(net(x).numpy(), (x + rand(2)) * (rand(2) + 1), rtol=1e-6)


def test_a_name_of_a_module_is_not_overwritten():
    nodes = [helper.make_node("Add", ["x", "forward"], ["y"])]
    net = fc.onnx.load(model(nodes, {"x": [2]}, {"y": [2]}, {"forward": rand(2)}))
    assert [n for n, _ in net.named_parameters()] == ["forward_2"]
    assert net(rand(2)).shape == (2,)


# ------------------------------------------------------------------------------------------------- results
@pytest.mark.parametrize("batch", [1, 4])
def test_result_equals_the_reference(batch):
    proto, x = small_net(), rand(batch, 3, 6, 6)
    np.testing.assert_allclose(fc.onnx.load(proto)(x).numpy(), reference(proto, x)[0], rtol=1e-4, atol=1e-5)


def test_a_file_the_bytes_and_the_model_are_the_same(tmp_path):
    proto, x = small_net(), rand(2, 3, 6, 6)
    onnx.save(proto, tmp_path / "net.onnx")
    want = fc.onnx.load(proto)(x).numpy()
    for source in (tmp_path / "net.onnx", str(tmp_path / "net.onnx"), proto.SerializeToString()):
        assert np.array_equal(fc.onnx.load(source)(x).numpy(), want)


def test_several_results_are_a_tuple():
    nodes = [helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2)]
    a, b = fc.onnx.load(model(nodes, {"x": [2, 4]}, {"a": [2, 2], "b": [2, 2]}))(rand(2, 4))
    assert np.array_equal(np.concatenate([a.numpy(), b.numpy()], 1), rand(2, 4))


def test_gradients_reach_weights_and_inputs():
    net = fc.onnx.load(small_net())
    x = fc.tensor(rand(2, 3, 6, 6), requires_grad=True)
    (net(x) ** 2).sum().backward()
    assert x.grad.shape == x.shape
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in net.parameters())


def test_a_loaded_net_can_be_trained():
    net = fc.onnx.load(small_net())
    x, target = fc.tensor(rand(8, 3, 6, 6)), fc.tensor(np.arange(8) % 5)
    optimizer = fc.optim.SGD(net.parameters(), lr=0.002)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = fc.nn.functional.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2


def test_a_copy_is_a_net_of_its_own():
    net = fc.onnx.load(small_net())
    other = copy.deepcopy(net)
    with fc.no_grad():
        other.conv_bias += 1
    x = rand(1, 3, 6, 6)
    assert not np.array_equal(net(x).numpy(), other(x).numpy())


# ------------------------------------------------------------------------------------------------- shapes
def test_what_follows_from_shapes_is_no_call_of_the_engine():
    net = fc.onnx.load(small_net())
    program, _ = fc.graph.capture(net, [rand(2, 3, 6, 6)])
    # the variance becomes a factor by an addition and a root
    assert [c.op for c in program.calls] == [
        *("conv_fwd", "binary_fwd", "unary_fwd", "batch_norm_fwd", "unary_fwd", "reshape", "linear_fwd")
    ]


def test_optimized_nets_compute_the_same_for_every_size():
    proto = small_net()
    net, x = fc.onnx.load(proto), rand(2, 3, 6, 6)
    fast = fc.optimize_for_inference(net)
    for scale in (1, 2, 3):
        np.testing.assert_allclose(
            fast(x * np.float32(scale)).numpy(),
            reference(proto, x * np.float32(scale))[0],
            rtol=1e-4,
            atol=1e-4,
        )
    assert fast(rand(5, 3, 6, 6)).shape == (5, 5)
    program = vars(fast)["forward"].programs[0]
    assert [c.op for c in program.calls].count("batch_norm_fwd") == 0  # folded into the convolution


def upsampling(float_scale):
    """Sizes that are computed in floats from the shape, as exporters write an upsampling."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "two", "four"], ["hw"]),
        helper.make_node("Cast", ["hw"], ["hwf"], to=F32),
        helper.make_node("Mul", ["hwf", "scale"], ["big"]),
        helper.make_node("Floor", ["big"], ["bigf"]),
        helper.make_node("Cast", ["bigf"], ["bigi"], to=I64),
        helper.make_node("Slice", ["s", "zero", "two"], ["nc"]),
        helper.make_node("Concat", ["nc", "bigi"], ["size"], axis=0),
        helper.make_node("Resize", ["x", "", "", "size"], ["y"], mode="linear"),
    ]
    weights = {"zero": np.array([0]), "two": np.array([2]), "four": np.array([4]), "scale": float_scale}
    return model(nodes, {"x": ["n", "c", "h", "w"]}, {"y": ["n", "c", "H", "W"]}, weights)


@pytest.mark.parametrize("shape", [(1, 2, 4, 6), (2, 1, 7, 5)])
def test_sizes_may_depend_on_the_size_of_the_image(shape):
    proto, x = upsampling(np.array([2.0, 1.5], np.float32)), rand(*shape)
    net = fc.onnx.load(proto)
    np.testing.assert_allclose(net(x).numpy(), reference(proto, x)[0], rtol=1e-4, atol=1e-5)
    assert list(net.parameters()) == []  # the scale is a number that shapes are computed of, not a weight
    fc.graph.capture(net, [x])  # nothing is read back from the engine


def test_a_shape_that_is_an_input_is_read():
    nodes = [helper.make_node("Reshape", ["x", "to"], ["y"])]
    net = fc.onnx.load(model(nodes, {"x": [6], "to": (I64, [2])}, {"y": ["a", "b"]}))
    assert net(rand(6), np.array([2, 3])).shape == (2, 3)


def test_constants_are_computed_once():
    nodes = [
        helper.make_node(
            "ConstantOfShape", ["shape"], ["ones"], value=numpy_helper.from_array(np.ones(1, np.float32))
        ),
        helper.make_node("Add", ["ones", "ones"], ["twos"]),
        helper.make_node("Mul", ["x", "twos"], ["y"]),
    ]
    net = fc.onnx.load(model(nodes, {"x": [3]}, {"y": [3]}, {"shape": np.array([3])}))
    assert [n.op for n in net.nodes] == ["Mul"]
    assert np.array_equal(net(rand(3)).numpy(), 2 * rand(3))


def test_half_precision_is_computed_in_float32():
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    half = TensorProto.FLOAT16
    net = fc.onnx.load(
        model(nodes, {"x": (half, [3])}, {"y": (half, [3])}, {"w": rand(3).astype(np.float16)})
    )
    assert net.w.dtype == np.float32
    assert net(rand(3)).dtype == np.float32


def test_repr_shows_inputs_and_results():
    assert "x: nx3x6x6 float32 -> y" in repr(fc.onnx.load(small_net()))


def optimized(net, x):
    """The names of the ops of the optimized program."""
    return [call.args[0] for call in fc.graph.optimize(fc.graph.trace(net.eval(), x)).calls]


@pytest.mark.parametrize(
    "gate, op",
    [
        (["Sigmoid"], "silu"),
        (["HardSigmoid"], "hardswish"),
        (["Softplus", "Tanh"], "mish"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_activations_of_several_nodes_are_one(gate, op, swapped):
    """A pass finds the activations that old opsets have no operator for."""
    names, nodes = ["x", "a", "b"], []
    for kind, before, after in zip(gate, names, names[1:]):
        options = {"alpha": 1 / 6, "beta": 0.5} if kind == "HardSigmoid" else {}
        nodes.append(helper.make_node(kind, [before], [after], **options))
    last = names[len(gate)]
    product = helper.make_node("Mul", [last, "x"] if swapped else ["x", last], ["y"])
    proto, x = model([*nodes, product], {"x": [50]}, {"y": [50]}), 3 * rand(50)
    net = fc.onnx.load(proto)
    assert optimized(net, x) == [op]
    for fast in (net, fc.optimize_for_inference(net)):
        np.testing.assert_allclose(fast(x).numpy(), reference(proto, x)[0], rtol=1e-5, atol=1e-6)
    both = fc.onnx.load(model([*nodes, product], {"x": [50]}, {"y": [50], last: [50]}))
    assert len(optimized(both, x)) == len(gate) + 1  # the factor is a result too
    assert np.array_equal(both(x)[0].numpy(), x * both(x)[1].numpy())


def test_other_products_stay():
    nodes = [
        helper.make_node("HardSigmoid", ["x"], ["a"]),  # of slope 0.2
        helper.make_node("Mul", ["x", "a"], ["b"]),
        helper.make_node("Sigmoid", ["b"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    proto, x = model(nodes, {"x": [50]}, {"y": [50]}), rand(50)
    net = fc.onnx.load(proto)
    assert optimized(net, x)[-3:] == ["mul", "sigmoid", "mul"]
    np.testing.assert_allclose(net(x).numpy(), reference(proto, x)[0], rtol=1e-5, atol=1e-6)
