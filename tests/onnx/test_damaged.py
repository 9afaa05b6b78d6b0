"""Damaged and hostile files, and inputs that do not fit: errors that name what is wrong and the cure."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

import fastconv as fc

pytest.importorskip("onnx.checker")
import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

F32 = TensorProto.FLOAT


def model(nodes, weights=(), opset=18, inputs=None, outputs=None):
    about = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [about("x", F32, ["n", 3])] if inputs is None else inputs,
        [about("y", F32, None)] if outputs is None else outputs,
        [w if isinstance(w, TensorProto) else numpy_helper.from_array(*w) for w in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(op, inputs, outputs="y", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"the_{op.lower()}", **attributes)


def refused(source, *words, error=ValueError):
    """``load`` raises ``error`` with all of ``words`` in its message."""
    with pytest.raises(error) as e:
        fc.onnx.load(source)
    assert type(e.value) is error
    message = str(e.value)
    assert message.startswith("onnx.load: ")
    assert not [w for w in words if w not in message], message


# ------------------------------------------------------------------------------------------------- files
def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        fc.onnx.load(tmp_path / "none.onnx")


@pytest.mark.parametrize("source", [None, 3, np.zeros(3)])
def test_neither_a_path_nor_a_model(source):
    refused(source, "expected a path, bytes or an onnx.ModelProto", type(source).__name__, error=TypeError)


def test_a_truncated_file(tmp_path):
    whole = model([node("Add", "x w")], [(np.ones((64, 3), np.float32), "w")]).SerializeToString()
    path = tmp_path / "net.onnx"
    for size in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="onnx.load: "):
            fc.onnx.load(path)
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "net.onnx", "damaged, incomplete or of another kind")


def test_random_bytes():
    rng = np.random.default_rng(0)
    for size in (1, 7, 100, 3000):
        for _ in range(20):
            with pytest.raises(ValueError, match="onnx.load: "):
                fc.onnx.load(rng.bytes(size))


def test_changed_bytes():
    """Whichever byte changes, the file is refused or loaded: there is no other error."""
    whole = bytearray(model([node("Add", "x w")], [(np.ones((2, 3), np.float32), "w")]).SerializeToString())
    rng = np.random.default_rng(0)
    for i in range(len(whole)):
        data = whole.copy()
        data[i] = rng.integers(256)
        try:
            fc.onnx.load(bytes(data))
        except (ValueError, TypeError) as e:
            assert str(e).startswith("onnx"), e


@pytest.mark.parametrize("opset", [1, 6, 29, 1000])
def test_an_opset_that_is_not_supported(opset):
    refused(model([node("Relu", "x")], opset=opset), f"opset {opset}", "opset 7 to 28", "version_converter")


def test_no_opset():
    proto = model([node("Relu", "x")])
    del proto.opset_import[:]
    refused(proto, "opset_import")


# ------------------------------------------------------------------------------------------------- graphs
def test_missing_operators_are_named_with_their_nodes():
    nodes = [node("Det", "x", "a"), node("Relu", "a", "b"), node("Magic", "b", domain="com.acme")]
    refused(model(nodes), "Det (node 'the_det')", "com.acme.Magic (node 'the_magic')")


def test_a_cycle():
    nodes = [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Neg", "b")]
    refused(model(nodes), "node 'the_add' (Add)", "'b'", "cycle")


def test_a_missing_initialiser():
    refused(model([node("Add", "x w")]), "node 'the_add' (Add)", "'w'", "no initialiser holds")


def test_an_output_that_nothing_computes():
    refused(model([node("Relu", "x", "z")]), "output 'y'")


def test_an_attribute_that_the_operator_does_not_have():
    refused(model([node("Relu", "x", alpha=1.0)]), "alpha", "is not valid")


def test_a_graph_as_an_attribute():
    inner = helper.make_graph([], "inner", [], [])
    proto = model([node("Relu", "x")])
    proto.graph.node[0].attribute.append(helper.make_attribute("body", inner))
    refused(proto, "body")


def test_inputs_that_are_no_tensors_of_numbers():
    about = helper.make_tensor_value_info("x", TensorProto.STRING, [3])
    refused(model([node("Identity", "x")], inputs=[about]), "'x'", "string", error=TypeError)


# ------------------------------------------------------------------------------------------------- weights
def weight(**fields):
    return TensorProto(name="w", data_type=F32, **fields)


@pytest.mark.parametrize("dims", [[1 << 40, 1 << 20], [-1, 3], [1 << 62, 1 << 62]])
def test_impossible_shapes_allocate_nothing(dims):
    refused(model([node("Add", "x w")], [weight(dims=dims, raw_data=b"1234")]), "'w'", "impossible shape")


@pytest.mark.parametrize("dims", [[1 << 30], [2], [0]])
def test_fewer_or_more_numbers_than_declared(dims):
    refused(
        model([node("Add", "x w")], [weight(dims=dims, raw_data=b"1234")]), "'w'", "damaged or incomplete"
    )


def test_types_that_are_not_supported():
    w = helper.make_tensor("w", TensorProto.STRING, [1], [b"text"])
    refused(model([node("Identity", "w")], [w]), "'w'", "string", error=TypeError)


def test_constants_of_absurd_size_are_refused():
    shape = np.array([1 << 20, 1 << 20])
    nodes = [node("ConstantOfShape", "s", "c"), node("Add", "x c")]
    with pytest.raises(ValueError, match="the_constantofshape.*too large"):
        fc.onnx.load(model(nodes, [(shape, "s")]))


def external(location, **about):
    w = weight(dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **about}.items():
        w.external_data.add(key=key, value=str(value))
    return model([node("Add", "x w")], [w])


def saved(folder, proto):
    (folder / "net.onnx").write_bytes(proto.SerializeToString())
    return folder / "net.onnx"


def test_weights_beside_the_model_are_read(tmp_path):
    values = np.arange(5, dtype=np.float32)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(values.tobytes())
    path = saved(tmp_path, external("weights/w.bin", offset=4, length=12))
    assert fc.onnx.load(path)(np.zeros((1, 3), np.float32)).tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "a/../../w.bin", "", "."])
def test_weights_outside_the_folder_are_not_read(location, tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(12))
    folder = tmp_path / "model"
    folder.mkdir()
    refused(saved(folder, external(location)), "'w'", "outside the folder of the model")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_out_of_the_folder_are_not_followed(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(12))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "w.bin")
    refused(saved(folder, external("w.bin")), "'w'", "outside the folder of the model")


@pytest.mark.parametrize(
    "about", [{"length": 13}, {"offset": 4, "length": 12}, {"offset": -1}, {"offset": "x"}]
)
def test_weights_beyond_the_end_of_their_file(about, tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(12))
    refused(saved(tmp_path, external("w.bin", **about)), "'w'")


def test_missing_weights_and_folders(tmp_path):
    refused(saved(tmp_path, external("w.bin")), "'w'", "cannot be read")
    (tmp_path / "w.bin").mkdir()
    refused(saved(tmp_path, external("w.bin")), "'w'")


def test_weights_in_another_file_need_a_path():
    refused(external("w.bin"), "'w'", "give the path of the model")


# ------------------------------------------------------------------------------------------------- inputs
def net():
    return fc.onnx.load(model([node("Add", "x w")], [(np.ones(3, np.float32), "w")]))


@pytest.mark.parametrize(
    "inputs, error, words",
    [
        ((), TypeError, "expected 1 inputs \\(x\\), got 0"),
        ((np.zeros((1, 3), np.float64),), TypeError, "'x' must be float32, got float64.*astype"),
        ((np.zeros(3, np.float32),), ValueError, "'x' must be nx3 float32, got 3; "),
        ((np.zeros((2, 4), np.float32),), ValueError, "'x' must be nx3 float32, got 2x4"),
        (([[1.0, 2.0, 3.0]],), TypeError, "'x' must be a Tensor or an array, got list"),
    ],
)
def test_inputs_that_are_not_as_declared(inputs, error, words):
    with pytest.raises(error, match=words):
        net()(*inputs)


def test_extents_of_one_name_must_agree():
    about = helper.make_tensor_value_info
    inputs = [about("a", F32, ["n", 3]), about("b", F32, ["n", 3])]
    two = fc.onnx.load(model([node("Add", "a b")], inputs=inputs))
    with pytest.raises(ValueError, match="'b' must be nx3 float32, got 1x3 \\(n = 2\\)"):
        two(np.zeros((2, 3), np.float32), np.zeros((1, 3), np.float32))


def test_an_error_of_a_node_names_it():
    bad = fc.onnx.load(model([node("MatMul", "x w")], [(np.ones((4, 2), np.float32), "w")]))
    with pytest.raises(ValueError, match="onnx node 'the_matmul' \\(MatMul\\): matmul"):
        bad(np.zeros((2, 3), np.float32))


def test_without_the_package(monkeypatch):
    for name in [n for n in sys.modules if n == "onnx" or n.startswith("onnx.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match='onnx.load: .*pip install "fastconv\\[onnx\\]"'):
        fc.onnx.load("net.onnx")
    with pytest.raises(ImportError, match='onnx.export: .*pip install "fastconv\\[onnx\\]"'):
        fc.onnx.export(fc.nn.Flatten(), np.zeros((1, 3), np.float32), "net.onnx")
    assert onnx is not None
