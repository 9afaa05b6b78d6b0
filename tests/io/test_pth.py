"""PyTorch's files read without PyTorch: made by hand, written by PyTorch, and made to do harm."""

from __future__ import annotations

import os
import pickle
import pickletools
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv as fc
from fastconv import nn
from fastconv.io.pickle_machine import INSTRUCTIONS

MAGIC = 0x1950A86A20F9469CFC6C
FORMATS = ["zip", "legacy"]


# ------------------------------------------------------------------------------------------ files by hand
def plain(x):
    """The instructions that build a number, string or container, without beginning and end."""
    return pickle.dumps(x, 2)[2:-1]


def name(path):
    module, _, last = path.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def call(function, *args):
    return name(function) + b"(" + b"".join(args) + b"tR"


def storage(legacy, kind, key, numel, view=None):
    words = plain("storage") + name(f"torch.{kind}") + plain(key) + plain("cpu") + plain(numel)
    return b"(" + words + (plain(view) if legacy else b"") + b"tQ"


def tensor(legacy, kind, key, numel, offset, size, stride, version="_v2", view=None):
    tail = plain(False) + call("collections.OrderedDict") if version == "_v2" else b""
    return call(
        f"torch._utils._rebuild_tensor{version}",
        storage(legacy, kind, key, numel, view),
        plain(offset),
        plain(size),
        plain(stride),
        tail,
    )


def mapping(entries, start=None):
    start = call("collections.OrderedDict") if start is None else start
    return start + b"(" + b"".join(plain(k) + v for k, v in entries.items()) + b"u"


def write(path, layout, payload, storages=None):
    """``storages``: key -> (number of elements, bytes)."""
    storages = storages or {}
    payload = b"\x80\x02" + payload + b"."
    if layout == "zip":
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("net/data.pkl", payload)
            z.writestr("net/byteorder", "little")
            for key, (_, data) in storages.items():
                z.writestr(f"net/data/{key}", data)
    else:
        system = {
            "protocol_version": 1001,
            "little_endian": True,
            "type_sizes": {"short": 2, "int": 4, "long": 4},
        }
        with open(path, "wb") as f:
            for x in (MAGIC, 1001, system):
                f.write(pickle.dumps(x, 2))
            f.write(payload + pickle.dumps(list(storages), 2))
            for numel, data in storages.values():
                f.write(numel.to_bytes(8, "little") + data)
    return path


@pytest.fixture(params=FORMATS)
def layout(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pth"


def example(layout):
    """A checkpoint as training scripts write them; its payload and storages."""
    old = layout == "legacy"
    state = (
        mapping(
            {
                "weight": tensor(old, "FloatStorage", "0", 12, 0, (3, 4), (4, 1)),
                "transposed": tensor(old, "FloatStorage", "0", 12, 1, (2, 3), (1, 4)),
                "bias": call(
                    "torch._utils._rebuild_parameter",
                    tensor(old, "BFloat16Storage", "1", 2, 0, (2,), (1,)),
                    plain(True),
                    call("collections.OrderedDict"),
                ),
                "count": tensor(old, "LongStorage", "2", 1, 0, (), ()),
                "half": tensor(old, "HalfStorage", "3", 2, 0, (2, 1), (1, 5), version=""),
                "none": tensor(old, "FloatStorage", "0", 12, 12, (0, 3), (3, 1)),
            }
        )
        + plain({"_metadata": {"": {"version": 1}}})
        + b"b"
    )
    payload = mapping(
        {
            "epoch": plain(7),
            "loss": plain([0.5, None, True, -(2**70)]),
            "arch": plain("resnet"),
            "state_dict": state,
            "size": call("torch.Size", plain((2, 3))),
            "device": call("torch.device", plain("cuda"), plain(0)),
            "milestones": call("collections.Counter", plain({3: 1})),
            "set": call("__builtin__.set", plain([1, 2])),
        },
        start=b"}",
    )
    storages = {
        "0": (12, np.arange(12, dtype="<f4").tobytes()),
        "1": (2, b"\xc0\x3f\x80\xff"),
        "2": (1, b"\x05" + bytes(7)),
        "3": (2, np.array([1.5, -2], "<f2").tobytes()),
    }
    return payload, storages


def test_a_checkpoint_by_hand(path, layout):
    found = fc.load(write(path, layout, *example(layout)))
    state = found.pop("state_dict")
    assert found == {
        "epoch": 7,
        "loss": [0.5, None, True, -(2**70)],
        "arch": "resnet",
        "size": (2, 3),
        "device": "cuda",
        "milestones": {3: 1},
        "set": {1, 2},
    }
    assert all(isinstance(t, fc.Tensor) and t.numpy().flags.writeable for t in state.values())
    assert {k: (str(t.dtype), t.shape) for k, t in state.items()} == {
        "weight": ("float32", (3, 4)),
        "transposed": ("float32", (2, 3)),
        "bias": ("float32", (2,)),
        "count": ("int64", ()),
        "half": ("float16", (2, 1)),
        "none": ("float32", (0, 3)),
    }
    table = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(state["weight"].numpy(), table)
    np.testing.assert_array_equal(state["transposed"].numpy(), table[:, 1:3].T)
    np.testing.assert_array_equal(state["bias"].numpy(), [1.5, -np.inf])
    assert state["count"].item() == 5 and state["half"].tolist() == [[1.5], [-2.0]]
    state["weight"][0, 1] = 100.0  # one storage, as in PyTorch
    assert state["transposed"][0, 0].item() == 100


TYPES = [
    ("FloatStorage", "<f4"),
    ("DoubleStorage", "<f8"),
    ("HalfStorage", "<f2"),
    ("LongStorage", "<i8"),
    ("IntStorage", "<i4"),
    ("ShortStorage", "<i2"),
    ("CharStorage", "i1"),
    ("ByteStorage", "u1"),
    ("BoolStorage", "?"),
]


@pytest.mark.parametrize("kind, dtype", TYPES)
def test_types(path, layout, kind, dtype):
    values = np.array([0, 1, 1, 0]).astype(dtype) if dtype == "?" else np.array([0, 1, 100, -3]).astype(dtype)
    payload = tensor(layout == "legacy", kind, "k", 4, 1, (3,), (1,))
    t = fc.load(write(path, layout, payload, {"k": (4, values.tobytes())}))
    assert t.dtype == np.dtype(dtype) and t.dtype.isnative
    np.testing.assert_array_equal(t.numpy(), values[1:])


def test_types_without_a_storage_class(path, layout):
    payload = call(
        "torch._utils._rebuild_tensor_v3",
        storage(layout == "legacy", "storage.UntypedStorage", "k", 6),
        plain(1),
        plain((2,)),
        plain((1,)),
        plain(False),
        call("collections.OrderedDict"),
        name("torch.uint16"),
    )
    t = fc.load(write(path, layout, payload, {"k": (6, np.array([1, 2, 60000], "<u2").tobytes())}))
    assert t.dtype == np.uint16 and t.tolist() == [2, 60000]


def test_views_of_storages_in_the_older_format(path):
    payload = tensor(True, "FloatStorage", "k", 5, 1, (2,), (1,), view=("view", 2, 3))
    t = fc.load(write(path, "legacy", payload, {"k": (5, np.arange(5, dtype="<f4").tobytes())}))
    assert t.tolist() == [3, 4]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_protocol(path, protocol):
    value = {
        "numbers": [1, -1, 300, 70000, 2**40, -(2**70), 1.5, None, True, False],
        "text": ["x", "\u4e92"],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "dicts": [{}, {"b": 1, "c": [1]}],
    }
    value |= {"bytes": b"y"} if protocol > 2 else {}
    value |= {"set": {1, 2}} if protocol > 3 else {}
    value["again"] = value["numbers"]
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("archive/data.pkl", pickle.dumps(value, protocol))
    found = fc.load(path)
    assert found == value and found["again"] is found["numbers"]


def test_reading_imports_no_torch(path, layout):
    write(path, layout, *example(layout))
    program = (
        "import sys; sys.modules['torch'] = None\n"
        f"import fastconv as fc; print(fc.load({str(path)!r})['epoch'])"
    )
    here = {**os.environ, "PYTHONPATH": str(Path(fc.__file__).parent.parent)}
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=here).stdout
        == "7\n"
    )


# ------------------------------------------------------------------------------------------------- files that
# mean harm
def text(s):
    return plain(s)


def touch(target):
    return f"touch {target}"


HARMFUL = {
    # instructions -> what the message names; %s is a shell command that leaves a file behind
    "os.system": (lambda c: call("os.system", text(c)), "os.system"),
    "posix.system": (lambda c: call("posix.system", text(c)), "posix.system"),
    "eval": (lambda c: call("builtins.eval", text(f"__import__('os').system({c!r})")), "builtins.eval"),
    "exec": (lambda c: call("__builtin__.exec", text(f"import os; os.system({c!r})")), "__builtin__.exec"),
    "subprocess": (lambda c: call("subprocess.call", plain(c), plain(-1)), "subprocess.call"),
    "nested": (
        lambda c: (
            call("builtins.getattr", call("builtins.__import__", text("os")), text("system"))
            + text(c)
            + b"\x85R"
        ),
        "builtins.getattr",
    ),
    "inside a state dict": (lambda c: mapping({"weight": call("os.system", text(c))}), "os.system"),
    "as a tensor's storage": (
        lambda c: call(
            "torch._utils._rebuild_tensor_v2", call("os.system", text(c)), plain(0), plain(()), plain(())
        ),
        "os.system",
    ),
    "name from strings": (lambda c: text("os") + text("system") + b"\x93" + text(c) + b"\x85R", "os.system"),
    "call of a string": (lambda c: text("os.system") + text(c) + b"\x85R", "'os.system'"),
    "call of a result": (lambda c: call("collections.OrderedDict") + text(c) + b"\x85R", "{}"),
    "call of a dtype": (lambda c: name("torch.uint16") + text(c) + b"\x85R", "dtype('uint16')"),
    "from the memo": (lambda c: name("os.system") + b"q\x000h\x00" + text(c) + b"\x85R", "os.system"),
    "INST": (lambda c: b"(" + text(c) + b"ios\nsystem\n", "INST"),
    "OBJ": (lambda c: b"(" + name("os.system") + text(c) + b"o", "os.system"),
    "OBJ of a known name": (lambda c: b"(" + name("torch.Size") + text(c) + b"o", "OBJ"),
    "NEWOBJ": (lambda c: name("torch.Size") + text(c) + b"\x85\x81", "NEWOBJ"),
    "NEWOBJ_EX": (lambda c: name("torch.Size") + text(c) + b"\x85}\x92", "NEWOBJ_EX"),
    "extension": (lambda c: b"\x82\x01" + text(c) + b"\x85R", "EXT1"),
    "persistent name": (lambda c: b"Pos.system\n" + text(c) + b"\x85R", "PERSID"),
    "persistent module": (
        lambda c: b"(" + text("module") + text("os") + text("f.py") + text(c) + text("x") + b"tQ",
        "'module'",
    ),
    "attributes of a name": (
        lambda c: name("torch.Size") + plain({"__call__": c}) + b"b",
        "attributes of Name",
    ),
    "attributes of a number": (lambda c: plain(1) + plain({"x": c}) + b"b", "attributes of int"),
    "bytes for torch.load": (
        lambda c: call("torch.storage._load_from_bytes", text(c)),
        "torch.storage._load_from_bytes",
    ),
    "a dotted name": (lambda c: call("torch._utils.os.system", text(c)), "torch._utils.os.system"),
    "a layer": (
        lambda c: call("torch.nn.modules.linear.Linear", plain(1), plain(2)),
        "torch.nn.modules.linear.Linear",
    ),
    "call of a type": (lambda c: name("numpy.float32") + text(c) + b"\x85R", "<class 'numpy.float32'>"),
    "call of a factory": (lambda c: name("builtins.list") + text(c) + b"\x85R", "'builtins.list'"),
    "a NumPy array of objects": (
        lambda c: call("numpy.dtype", plain("O8"), plain(False), plain(True)),
        "'O8'",
    ),
    "NumPy records": (
        lambda c: call("numpy.dtype", plain("(9,9)f8"), plain(False), plain(True)),
        "'(9,9)f8'",
    ),
    "a default of its own": (lambda c: call("collections.defaultdict", name("os.system")), "os.system"),
    "a tensor's type": (
        lambda c: call(
            "torch._tensor._rebuild_from_type_v2",
            plain("os.system"),
            name("torch.Tensor"),
            text(c) + b"\x85",
            plain({}),
        ),
        "os.system",
    ),
    "an object of a known name": (lambda c: name("argparse.Namespace") + text(c) + b"\x85\x81", "NEWOBJ"),
    "a complex tensor": (lambda c: name("torch.ComplexFloatStorage"), "torch.ComplexFloatStorage"),
    "a float8": (lambda c: name("torch.float8_e4m3fn"), "torch.float8_e4m3fn"),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_what_is_no_data_is_refused_by_name(path, tmp_path, layout, kind):
    make, named = HARMFUL[kind]
    mark = tmp_path / "executed"
    write(path, layout, make(touch(mark)))
    with pytest.raises(ValueError, match=r"load: .*net\.pth is refused: .*Nothing in it was executed") as e:
        fc.load(path)
    assert named in str(e.value).split("refused: ")[1]
    assert os.listdir(tmp_path) == ["net.pth"]


@pytest.mark.parametrize("kind", HARMFUL)
def test_nothing_is_executed_for_placeholders_either(path, tmp_path, layout, kind):
    make, _ = HARMFUL[kind]
    write(path, layout, mapping({"it": make(touch(tmp_path / "executed"))}))
    try:
        found = fc.load(path, weights_only=False)["it"]
        assert isinstance(found, (fc.io.Unread, str, dict)), found
    except ValueError as e:
        assert str(e).startswith("load: ")
    assert os.listdir(tmp_path) == ["net.pth"]


@pytest.mark.parametrize(
    "kind",
    [
        "os.system",
        "posix.system",
        "eval",
        "nested",
        "inside a state dict",
        "name from strings",
        "INST",
        "OBJ",
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="the commands are for a shell")
def test_the_harmful_files_would_do_harm(tmp_path, kind):
    """The control: Python's own unpickler does what they say."""
    mark = tmp_path / "executed"
    pickle.loads(b"\x80\x04" + HARMFUL[kind][0](touch(mark)) + b".")
    assert mark.exists()


@pytest.mark.parametrize(
    "offset, size, stride",
    [
        (0, (13,), (1,)),
        (1, (12,), (1,)),
        (0, (4, 4), (4, 1)),
        (0, (2,), (12,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (12, (), ()),
        (0, (2, 2), (1,)),
        (2**70, (1,), (1,)),
        (0, (2**62,), (2**62,)),
        (0, (-1,), (1,)),
        (0, (1.5,), (1,)),
        (0, (1,) * 70, (1,) * 70),
        ("0", (1,), (1,)),
    ],
)
def test_tensors_stay_in_their_storage(path, layout, offset, size, stride):
    payload = tensor(layout == "legacy", "FloatStorage", "k", 12, offset, size, stride)
    with pytest.raises(ValueError, match="load: expected a .pth file as torch.save writes it"):
        fc.load(write(path, layout, payload, {"k": (12, bytes(48))}))


def test_a_tensor_is_no_storage_for_another(path, layout):
    """One number, expanded to a million: a view of that would read a million."""
    wide = tensor(layout == "legacy", "FloatStorage", "k", 1, 0, (10**6,), (0,))
    payload = call("torch._utils._rebuild_tensor_v2", wide, plain(0), plain((10**6,)), plain((1,)))
    with pytest.raises(ValueError, match="leaves its storage"):
        fc.load(write(path, layout, payload, {"k": (1, bytes(4))}))


@pytest.mark.parametrize("numel", [11, 13, 2**60, -1])
def test_storages_are_as_long_as_announced(path, layout, numel):
    payload = tensor(layout == "legacy", "FloatStorage", "k", numel, 0, (2,), (1,))
    with pytest.raises(ValueError, match="storage k"):
        fc.load(write(path, layout, payload, {"k": (12, bytes(48))}))


def test_a_small_file_cannot_fill_the_memory(path, layout):
    """Sixty tuples, each of the one before twice."""
    payload = plain(1) + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    found = fc.load(write(path, layout, payload))
    for _ in range(60):
        assert found[0] is found[1]
        found = found[0]
    assert found == 1


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.3, 0.7, 0.95])
def test_truncated(path, layout, keep):
    data = write(path, layout, *example(layout)).read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ValueError, match="load: expected a .pth file as torch.save writes it, got .*damaged"):
        fc.load(path)


def test_other_files(path, tmp_path):
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="does not start with PyTorch's magic number|exhausted|expected"):
        fc.load(path)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="there is no data.pkl in this zip archive"):
        fc.load(path)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("net/data.pkl", pickle.dumps(1, 2))
        z.writestr("net/byteorder", "big")
    with pytest.raises(ValueError, match="big-endian"):
        fc.load(path)


def test_a_flipped_bit_in_the_numbers(path):
    data = bytearray(write(path, "zip", *example("zip")).read_bytes())
    data[data.index(np.float32(5).tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="CRC"):
        fc.load(path)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_anywhere_gives_a_value_or_an_error(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    data = bytearray(write(path, "legacy", *example("legacy")).read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    path.write_bytes(data)
    try:
        fc.load(path)
    except ValueError as e:
        assert str(e).startswith("load: ")


# ------------------------------------------------------------------------------------------------- files of
# PyTorch
@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def same(a, b):
    a = a.detach().float() if str(a.dtype) == "torch.bfloat16" else a.detach()
    np.testing.assert_array_equal(b.numpy(), a.numpy())
    assert b.numpy().dtype == a.numpy().dtype


def test_tensors_of_pytorch(torch, path, layout):
    table = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "plain": table,
        "sliced": table[:, ::2, 1:3],
        "transposed": table.transpose(0, 2),
        "scalar": torch.tensor(3.5),
        "expanded": torch.ones(3, 1).expand(3, 4),
        "empty": torch.zeros(0, 2),
        "parameter": torch.nn.Parameter(table),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    }
    for dtype in (
        "float16",
        "bfloat16",
        "float64",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "bool",
        "uint16",
        "uint32",
    ):
        tensors[dtype] = torch.tensor([0, 1, 7]).to(getattr(torch, dtype))
    torch.save(tensors, path, _use_new_zipfile_serialization=layout == "zip")
    found = fc.load(path)
    assert list(found) == list(tensors)
    for k, t in tensors.items():
        same(t, found[k])
    found["plain"][0, 0, 0] = -1.0
    # they share memory
    assert found["sliced"][0, 0, 0].item() == 1 and found["transposed"][0, 0, 0].item() == -1


def twins(torch):
    """The same network in both libraries."""

    def make(lib):
        return lib.Sequential(
            lib.Conv2d(1, 4, 3), lib.BatchNorm2d(4), lib.ReLU(), lib.Flatten(), lib.Linear(4 * 36, 3)
        )

    return make(torch.nn), make(nn)


@pytest.mark.parametrize("parallel", [False, True])
def test_a_state_dict_of_pytorch(torch, path, layout, parallel):
    theirs, ours = twins(torch)
    x = np.random.default_rng(0).standard_normal((5, 1, 8, 8)).astype(np.float32)
    theirs(torch.from_numpy(x))  # moves the running statistics
    state = torch.nn.DataParallel(theirs).state_dict() if parallel else theirs.state_dict()
    assert ("module.0.weight" in state) == parallel
    torch.save(state, path, _use_new_zipfile_serialization=layout == "zip")
    assert ours.load_state_dict(fc.load(path)) == ([], [])
    want = theirs.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours.eval()(x).numpy(), want, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_pytorch(torch, path, layout):
    theirs, ours = twins(torch)
    opt = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(opt, [3, 7])
    theirs(torch.ones(2, 1, 8, 8)).sum().backward()
    opt.step()
    torch.save(
        {
            "epoch": 2,
            "state_dict": theirs.state_dict(),
            "optimizer": opt.state_dict(),
            "scheduler": schedule.state_dict(),
            "rng": torch.get_rng_state(),
        },
        path,
        _use_new_zipfile_serialization=layout == "zip",
    )
    found = fc.load(path)
    assert found["epoch"] == 2 and found["scheduler"]["milestones"] == Counter([3, 7])
    same(torch.get_rng_state(), found["rng"])
    ours.load_state_dict(found["state_dict"])
    mine = fc.optim.SGD(ours.parameters(), lr=0.5, momentum=0.1)
    mine.load_state_dict(found["optimizer"])  # PyTorch's numbering and names
    assert mine.param_groups[0]["lr"] == 0.1
    for p, q in zip(theirs.parameters(), ours.parameters()):
        same(opt.state[p]["momentum_buffer"], mine.state[q]["momentum_buffer"])


def test_a_whole_network_of_pytorch_is_refused(torch, path, layout):
    torch.save(twins(torch)[0], path, _use_new_zipfile_serialization=layout == "zip")
    with pytest.raises(
        ValueError, match="refers to torch.nn.modules.container.Sequential, .* save the state_dict"
    ):
        fc.load(path)


def test_an_ordered_dict_keeps_its_order(torch, path, layout):
    state = OrderedDict((str(i), torch.ones(i)) for i in (3, 1, 2))
    torch.save(state, path, _use_new_zipfile_serialization=layout == "zip")
    assert list(fc.load(path)) == ["3", "1", "2"]


def test_the_machine_knows_no_instruction_that_python_does_not():
    """The table names instructions of pickletools; those that reach outside a pickle are not in it."""
    known = {opcode.name for opcode in pickletools.opcodes}
    assert set(INSTRUCTIONS) < known
    outside = {"EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER"}
    assert outside < known and not outside & set(INSTRUCTIONS)
