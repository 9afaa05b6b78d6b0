"""Files as users have them: checkpoints with all sorts of values, any extension, open files, links; damage of
any kind."""

from __future__ import annotations

import argparse
import enum
import io
import os
import pathlib
import pickle
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import nn


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=["zip", "legacy"])
def layout(request):
    return request.param


def save(torch, value, file, layout="zip", protocol=2):
    torch.save(value, file, pickle_protocol=protocol, _use_new_zipfile_serialization=layout == "zip")
    return file


# ------------------------------------------------------------------------------------------------- marks of
# tensors
def marked(metadata):
    """A file with the tensor (1, 2, 3), of which ``metadata`` says more."""
    words = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(("
        + pickle.dumps("storage", 2)[2:-1]
        + b"ctorch\nFloatStorage\n"
        + b"".join(pickle.dumps(x, 2)[2:-1] for x in ("0", "cpu", 3))
        + b"tQK\x00K\x03\x85K\x01\x85\x89"
        + b"ccollections\nOrderedDict\n)R"
        + pickle.dumps(metadata, 2)[2:-1]
        + b"tR."
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("net/data.pkl", words)
        z.writestr("net/data/0", np.array([1, 2, 3], "<f4").tobytes())
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "metadata, expected",
    [
        ({}, [1, 2, 3]),
        (None, [1, 2, 3]),
        ({"neg": True}, [-1, -2, -3]),
        ({"neg": False, "conj": False}, [1, 2, 3]),
    ],
)
def test_the_marks_of_a_tensor_by_hand(metadata, expected):
    assert fc.load(marked(metadata)).tolist() == expected


@pytest.mark.parametrize("mark", ["conj", "a mark of the future"])
def test_unknown_marks_of_a_tensor_are_refused(mark):
    with pytest.raises(ValueError, match=f"load: BytesIO is refused: a tensor is marked '{mark}'"):
        fc.load(marked({mark: True}))


def test_negative_views_of_torch(torch, tmp_path, layout):
    x = torch.arange(6.0).reshape(2, 3)
    values = {
        "neg": torch._neg_view(x),
        "part": torch._neg_view(x)[1, ::2],
        "plain": x,
        "parameter": torch.nn.Parameter(torch._neg_view(x)),
        "imag": torch.complex(x, x + 10).conj().imag,
    }
    assert values["imag"].is_neg()
    if layout == "legacy":
        del values["imag"]  # PyTorch cannot write it: a float view of a complex storage
    found = fc.load(save(torch, values, tmp_path / "x.pth", layout))
    for k, t in found.items():
        np.testing.assert_array_equal(t.numpy(), values[k].detach().resolve_neg().numpy())


def test_tied_weights_stay_tied(torch, tmp_path, layout):
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    net[1].weight = net[0].weight
    found = fc.load(save(torch, net.state_dict(), tmp_path / "x.pth", layout))
    found["0.weight"][1, 2] = 7.0
    assert found["1.weight"][1, 2].item() == 7


def test_tensors_with_python_attributes(torch, tmp_path, layout):
    p, t = torch.nn.Parameter(torch.ones(2)), torch.zeros(3)
    p.note, t.note = "x", [1]
    found = fc.load(
        save(torch, {"p": p, "t": t, "b": torch.nn.Buffer(torch.ones(1))}, tmp_path / "x.pth", layout)
    )
    assert found["p"].tolist() == [1, 1] and found["t"].tolist() == [0, 0, 0] and found["b"].tolist() == [1]


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda torch: torch.ones(2, 2).to_sparse(), "torch._utils._rebuild_sparse_tensor"),
        (
            lambda torch: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            "torch.*QInt8|_rebuild_qtensor",
        ),
        (lambda torch: torch.ones(2, device="meta"), "torch._utils._rebuild_meta_tensor_no_storage"),
        (lambda torch: torch.ones(2, dtype=torch.complex64), "ComplexFloatStorage"),
        (lambda torch: torch.ones(2).to(torch.float8_e5m2), "torch.float8_e5m2"),
    ],
)
def test_tensors_of_other_kinds_are_refused_by_name(torch, tmp_path, make, named):
    path = save(torch, {"w": torch.ones(2), "other": make(torch)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=f"x.pth is refused: .*({named})"):
        fc.load(path)
    found = fc.load(path, weights_only=False)
    assert found["w"].tolist() == [1, 1] and isinstance(found["other"], fc.io.Unread)


# ------------------------------------------------------------------------------------------------- values
# beside weights
def values():
    """What training scripts put beside weights, and what is read in its place."""
    args = argparse.Namespace(lr=0.1, layers=[1, 2], device="cuda", nested=argparse.Namespace(x=None))
    best = {
        "float32": np.float32(0.5),
        "float64": np.float64(0.1),
        "int64": np.int64(-3),
        "bool": np.bool_(True),
        "uint8": np.uint8(200),
        "complex": np.complex128(1 + 2j),
        "str": np.str_("né"),
    }
    arrays = {
        "f": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "0-d": np.array(1.5),
        "empty": np.zeros((0, 2)),
        "words": np.array(["a", "bc"]),
        "bool": np.array([True]),
    }
    logs = defaultdict(list)
    logs["loss"] += [1.0, 0.5]
    same = {
        "scalars": best,
        "arrays": arrays,
        "set": {1, "a"},
        "frozenset": frozenset([1, 2]),
        "bytes": b"\x00\xff",
        "none": b"",
        "bytearray": bytearray(b"xy"),
        "complex": 1j,
        "logs": logs,
        "deque": deque([1, 2], maxlen=5),
        "when": datetime(2024, 5, 6),
        "took": timedelta(seconds=5),
        "type": np.float32,
        "keys": {(1, "a"): 1, None: 2, 1.5: 3},
        "random": np.random.RandomState(3).get_state(),  # noqa: NPY002
    }
    changed = {
        # written -> read
        "args": (args, types.SimpleNamespace(**{**vars(args), "nested": types.SimpleNamespace(x=None)})),
        "ordered": (OrderedDict(a=1), {"a": 1}),
        "counter": (Counter("aab"), {"a": 2, "b": 1}),
        "path": (pathlib.Path("a") / "b.png", pathlib.PurePosixPath("a/b.png")),
    }
    return {k: (v, v) for k, v in same.items()} | changed


def equal(a, b):
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
        )
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.skipif(os.name != "posix", reason="a path is pickled as the system's kind of path")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", values())
def test_values_beside_weights(torch, tmp_path, layout, protocol, name):
    written, expected = values()[name]
    path = save(torch, {"w": torch.ones(2), "it": [written, written]}, tmp_path / "x.pth", layout, protocol)
    found = fc.load(path)
    assert found["w"].tolist() == [1, 1] and equal(found["it"][0], expected)
    assert found["it"][0] is found["it"][1] or isinstance(written, (int, str, np.generic, type, bytes))


def test_arrays_in_a_checkpoint_can_be_written_to(torch, tmp_path):
    found = fc.load(save(torch, {"a": np.zeros(3)}, tmp_path / "x.pth"))
    found["a"][1] = 5
    assert found["a"].tolist() == [0, 5, 0]


def test_dtypes_of_torch_become_numpys(torch, tmp_path, layout):
    names = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    written = [getattr(torch, n) for n in names] + [torch.bfloat16]
    found = fc.load(save(torch, written, tmp_path / "x.pth", layout))
    assert found[:-1] == [np.dtype(n) for n in names] and found[-1] == "torch.bfloat16"
    assert found[1] == fc.float32


def test_a_log_goes_on(torch, tmp_path):
    logs = fc.load(save(torch, defaultdict(list, loss=[1.0]), tmp_path / "x.pth"))
    logs["accuracy"].append(0.5)
    assert logs == {"loss": [1.0], "accuracy": [0.5]}


class Colour(enum.Enum):
    RED = "red"


class Config:
    def __init__(self, **entries):
        self.__dict__ |= entries


class Named(dict):
    pass


class Rows(list):
    pass


OTHERS = {
    # value -> its placeholder's args, state and items
    "enum": (Colour.RED, ("red",), None, []),
    "object": (Config(lr=0.1, layers=[3, 4]), (), {"lr": 0.1, "layers": [3, 4]}, []),
    "dict": (Named(a=1, b=[2]), (), None, [("a", 1), ("b", [2])]),
    "list": (Rows([1, 2]), (), None, [1, 2]),
    "function": (values, (), None, []),
    "class": (Config, (), None, []),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", OTHERS)
def test_placeholders(torch, tmp_path, layout, kind, protocol):
    value, args, state, items = OTHERS[kind]
    path = save(torch, {"w": torch.ones(2), "other": value, "after": 3}, tmp_path / "x.pth", layout, protocol)
    name = f"{__name__}.{getattr(value, '__name__', type(value).__name__)}"
    with pytest.raises(
        ValueError, match=f"x.pth is refused: it refers to {name}, .*weights_only=False reads the rest"
    ):
        fc.load(path)
    found = fc.load(path, weights_only=False)
    assert found["w"].tolist() == [1, 1] and found["after"] == 3
    other = found["other"]
    assert (other.name, other.args, other.state, other.items) == (name, args, state, items)
    assert repr(other) == f"<{name}, not read>"
    with pytest.raises(AttributeError, match=f"{name} was not read from the file, so it has no lr"):
        other.lr  # noqa: B018
    with pytest.raises(TypeError, match="Unread"):
        fc.save({"it": other}, tmp_path / "x.npz")


def test_the_weights_of_a_whole_network_can_be_reached(torch, tmp_path, layout):
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3))
    found = fc.load(save(torch, theirs, tmp_path / "x.pth", layout), weights_only=False)
    assert found.name == "torch.nn.modules.container.Sequential"
    layer = found.state["_modules"]["0"]
    net = nn.Linear(2, 3)
    net.load_state_dict(layer.state["_parameters"])
    np.testing.assert_array_equal(net.weight.numpy(), theirs[0].weight.detach().numpy())


def test_keys_that_take_for_ever(tmp_path):
    """Sixty tuples, each of the one before twice: to hash the last, or to print it, takes 2^60 steps."""
    tower = b"K\x01" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    for words in (
        b"}" + tower + b"K\x01s",
        b"\x8f(" + tower + b"\x90",
        tower + b")R",
        tower + b")\x81",
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + tower + tower + tower + tower + b"tR",
        b"(" + tower + b"K\x01K\x01K\x01K\x01tQ",
        b"c__builtin__\nset\n(" + tower + b"\x85tR",
        b"ccollections\nOrderedDict\n(](" + tower + b"K\x01\x86etR",
        b"(" + tower + b"K\x01d",
        b"(K\x05" + tower + b"i\nos\n",
        b"ctorch\nSize\n" + tower + b"b",
    ):
        with zipfile.ZipFile(tmp_path / "x.pth", "w") as z:
            z.writestr("net/data.pkl", b"\x80\x04" + words + b".")
        with pytest.raises(ValueError, match="load: "):
            fc.load(tmp_path / "x.pth")
        try:
            fc.load(tmp_path / "x.pth", weights_only=False)
        except ValueError as e:
            assert str(e).startswith("load: ")


# ------------------------------------------------------------------------------------------------- names and
# open files
def contents(torch, kind):
    file = io.BytesIO()
    if kind in ("zip", "legacy"):
        save(torch, {"w": torch.arange(3.0)}, file, kind)
    elif kind == "npz":
        fc.save({"w": fc.arange(3)}, file)
    else:
        file = io.BytesIO(b"")
    return file.getvalue()


@pytest.mark.parametrize(
    "name",
    ["x.pth", "x.pt", "x.pth.tar", "x.ckpt", "x.bin", "x.PTH", "x.model", "x", "x.npz", "x.safetensors"],
)
@pytest.mark.parametrize("kind", ["zip", "legacy", "npz", "safetensors"])
def test_what_a_file_is_shows_in_its_contents(torch, tmp_path, kind, name):
    if kind == "safetensors":
        fc.save({"w": fc.arange(3)}, tmp_path / "real.safetensors")
        data = (tmp_path / "real.safetensors").read_bytes()
    else:
        data = contents(torch, kind)
    (tmp_path / name).write_bytes(data)
    assert fc.load(tmp_path / name)["w"].tolist() == [0, 1, 2]
    assert fc.load(os.fsencode(tmp_path / name))["w"].tolist() == [0, 1, 2]
    with open(tmp_path / name, "rb") as f:
        assert fc.load(f)["w"].tolist() == [0, 1, 2]
    assert fc.load(io.BytesIO(data))["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["x", "x.pkl", "x.npz", "x.safetensors", "x.pth", "x.PTH"])
@pytest.mark.parametrize(
    "data", [b"", b"hello, this is no file of weights", b"\x89HDF\r\n\x1a\n" + bytes(50)]
)
def test_files_of_no_kind(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    for file in (tmp_path / name, io.BytesIO(data)):
        with pytest.raises(
            ValueError, match=f"load: expected a .*got .*({name}|BytesIO) with {len(data)} bytes"
        ):
            fc.load(file)


def test_open_files(tmp_path):
    state = {"w": fc.arange(3)}
    for kind in ("npz", "safetensors"):
        with open(tmp_path / f"x.{kind}", "wb") as f:
            fc.save(state, f)
        assert fc.load(tmp_path / f"x.{kind}")["w"].tolist() == [0, 1, 2]
    with open(tmp_path / "plain", "wb") as f:
        fc.save(state, f)
    with np.load(tmp_path / "plain") as archive:
        assert archive["w"].tolist() == [0, 1, 2]
    with (
        open(tmp_path / "x.pkl", "wb") as f,
        pytest.raises(ValueError, match="save: .* .npz, .safetensors, .*, got .*x.pkl"),
    ):
        fc.save(state, f)
    with open(tmp_path / "x.npz", "w") as f, pytest.raises(TypeError, match="x.npz is open as text; .* 'wb'"):
        fc.save(state, f)
    with (
        open(tmp_path / "plain", errors="replace") as f,
        pytest.raises(TypeError, match="plain is open as text; .* 'rb'"),
    ):
        fc.load(f)
    for call in (lambda: fc.load(3), lambda: fc.load(None), lambda: fc.save(state, 3)):
        with pytest.raises(
            TypeError, match="(load|save): expected a path or a file .* binary mode, got (int|NoneType)"
        ):
            call()


@pytest.mark.parametrize(
    "where",
    [None, "cpu", fc.device("cpu"), {"cuda:0": "cpu", "cuda:1": "cpu"}, lambda storage, place: storage],
)
def test_map_location_of_the_host(torch, tmp_path, where):
    path = save(torch, {"w": torch.ones(2)}, tmp_path / "x.pth")
    for location in (where, torch.device("cpu")):
        found = fc.load(path, location, weights_only=True)["w"]
        assert found.device == "cpu" and found.tolist() == [1, 1]


@pytest.mark.parametrize("where", ["tpu", {"cpu": "cuda:0"}, lambda storage, place: "cuda"])
def test_map_location_that_cannot_be(tmp_path, where):
    fc.save({"w": fc.ones(2)}, tmp_path / "x.npz")
    with pytest.raises(ValueError, match="'tpu'|load: map_location: expected None, .cpu., .cuda.,"):
        fc.load(tmp_path / "x.npz", map_location=where)


@pytest.mark.skipif(not fc.cuda.is_available(), reason="needs a CUDA device or numba's simulator")
def test_map_location_of_the_gpu(tmp_path):
    fc.save({"net": {"w": fc.arange(3)}, "list": [fc.ones(1), 2], "tuple": (fc.ones(1),)}, tmp_path / "x.npz")
    found = fc.load(tmp_path / "x.npz", "cuda:0")
    tensors = [found["net"]["w"], found["list"][0], found["tuple"][0]]
    assert (
        [t.device for t in tensors] == ["cuda"] * 3
        and tensors[0].tolist() == [0, 1, 2]
        and found["list"][1] == 2
    )


@pytest.mark.skipif(os.name != "posix", reason="links and modes of POSIX")
@pytest.mark.parametrize("extension", ["npz", "safetensors"])
def test_saving_writes_through_links(tmp_path, extension):
    (tmp_path / "disk").mkdir()
    target, link, chain = (
        tmp_path / "disk" / f"real.{extension}",
        tmp_path / f"x.{extension}",
        tmp_path / f"y.{extension}",
    )
    link.symlink_to(os.path.join("disk", target.name))
    chain.symlink_to(link)
    for value, path in enumerate((link, chain)):  # the first time the link leads to no file yet
        fc.save({"w": fc.ones(2) * value}, path)
        assert link.is_symlink() and chain.is_symlink() and fc.load(target)["w"].tolist() == [value] * 2
    assert set(os.listdir(tmp_path)) == {"disk", link.name, chain.name} and os.listdir(target.parent) == [
        target.name
    ]
    target.chmod(0o640)
    fc.save({"w": fc.zeros(1)}, chain)
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_checkpoints_write_through_links(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run.npz").symlink_to(tmp_path / "disk" / "real.npz")
    net, batches = nn.Linear(2, 2), [(np.ones((3, 2), np.float32), np.zeros(3, int))]
    for epochs in (1, 2):
        fc.train.fit(net, batches, epochs=epochs, progress=False, checkpoint=tmp_path / "run.npz")
    assert (tmp_path / "run.npz").is_symlink()
    assert set(os.listdir(tmp_path / "disk")) == {"real.npz", "real.previous.npz"}
    assert fc.load(tmp_path / "run.npz")["at"]["epoch"] == 2


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="has no devices")
def test_saving_replaces_no_device(tmp_path):
    (tmp_path / "x.npz").symlink_to("/dev/null")
    with pytest.raises(ValueError, match="save: .*x.npz is a device or a pipe"):
        fc.save({"w": fc.ones(1)}, tmp_path / "x.npz")
    assert os.path.exists("/dev/null") and (tmp_path / "x.npz").is_symlink()


# ------------------------------------------------------------------------------------------------- damage
def whole(kind):
    rng = np.random.default_rng(1)
    value = {
        "net": {"weight": rng.random((4, 3), np.float32), "bias": np.arange(4)},
        "epoch": 3,
        "lr": [0.1, None, "x"],
    }
    file = io.BytesIO()
    if kind == "npz":
        fc.save(value, file)
    elif kind == "savez":
        np.savez_compressed(file, **value["net"])
    elif kind == "safetensors":
        file = Sink("x.safetensors")
        fc.save(value, file)
    else:
        torch = pytest.importorskip("torch")
        value["net"] = {k: torch.from_numpy(v) for k, v in value["net"].items()}
        save(
            torch,
            {**value, "best": np.float32(3), "array": np.ones(2), "args": argparse.Namespace(a=1)},
            file,
            kind,
        )
    return file.getvalue()


class Sink(io.BytesIO):
    def __init__(self, name):
        super().__init__()
        self.name = name


KINDS = ["npz", "savez", "safetensors", "zip", "legacy"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_cut_anywhere(kind):
    data = whole(kind)
    for n in range(0, len(data), max(1, len(data) // 150)):
        with pytest.raises(ValueError, match=f"load: expected .* with {n} bytes"):
            fc.load(io.BytesIO(data[:n]))


changes = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(changes=changes, strict=st.booleans(), joined=st.booleans())
def test_a_file_with_other_bytes_anywhere(kind, changes, strict, joined):
    """A value or a ValueError; and no more memory than the file has."""
    data = bytearray(whole(kind))
    for i, (at, value) in enumerate(changes):
        data[(changes[0][0] + i if joined else at) % len(data)] = value
    try:
        fc.load(io.BytesIO(data), weights_only=strict)
    except ValueError as e:
        assert str(e).startswith("load: ")


def npy(header, data=b""):
    header = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "entry, message",
    [
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }", bytes(8)),
            "w of shape .* has 8 bytes",
        ),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -1), }", bytes(8)), "w of shape"),
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
            "w of shape .* has 8 bytes",
        ),
        (
            npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps([1])),
            "w is of type object",
        ),
        (
            npy("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
            "w is of type datetime64",
        ),
        (npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", bytes(8)), "w is of type"),
        (b"\x93NUMPY\x09\x00", "w is of version .9, 0."),
        (b"no array", "magic string"),
    ],
)
def test_npz_by_hand(tmp_path, entry, message):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as z:
        z.writestr("w.npy", entry)
    with pytest.raises(ValueError, match=f"load: .*x.npz.*{message}"):
        fc.load(tmp_path / "x.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_npz_with_one_name_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as z:
        for value in (1.0, 2.0):
            with z.open("w.npy", "w") as f:
                np.lib.format.write_array(f, np.array(value))
    with pytest.raises(ValueError, match="x.npz .*w occurs twice"):
        fc.load(tmp_path / "x.npz")


def test_npz_of_every_byte_order(tmp_path):
    np.savez(
        tmp_path / "x.npz",
        big=np.arange(3, dtype=">f4"),
        fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
    )
    found = fc.load(tmp_path / "x.npz")
    assert found["big"].dtype.isnative and found["big"].tolist() == [0, 1, 2]
    assert found["fortran"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_legacy_storages_are_whole(torch, tmp_path):
    """A file that ends inside the numbers, also where one number is left."""
    data = save(torch, {"w": torch.arange(5.0)}, io.BytesIO(), "legacy").getvalue()
    for cut in range(1, 21):
        with pytest.raises(ValueError, match="load: .*storage .* has .* bytes, but the file says 20"):
            fc.load(io.BytesIO(data[:-cut]))
