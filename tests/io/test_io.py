"""fc.save and fc.load: what goes in comes out, other programs' files, damaged files, failing disks."""

from __future__ import annotations

import io as stdio
import json
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv as fc
import fastconv.io
from fastconv.io import atomic

EXTENSIONS = [".npz", ".safetensors"]


@pytest.fixture(params=EXTENSIONS)
def path(request, tmp_path):
    return tmp_path / f"file{request.param}"


def same(a, b):
    """Equal in structure and values, arrays bit for bit and of one dtype."""
    if isinstance(a, (fc.Tensor, np.ndarray)):
        a, b = np.asarray(a), b.numpy()
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


def test_state_dict(path):
    state = {
        "0.weight": fc.randn(4, 3, 2, 2),
        "0.bias": fc.zeros(4),
        "file": fc.arange(5),
        "self": fc.tensor(1.5),
    }
    fc.save(state, str(path))
    back = fc.load(str(path))
    assert all(isinstance(v, fc.Tensor) for v in back.values())
    assert same({k: state[k] for k in sorted(state)}, {k: back[k] for k in sorted(back)})


def test_checkpoint(path):
    checkpoint = {
        "net": {"0.weight": fc.randn(2, 2), "": np.zeros((0, 3))},
        "optimizer": {
            "state": {0: {"step": 7, "v": fc.randn(2, 2)}, 1: {}},
            "groups": [{"betas": (0.9, 0.99)}],
        },
        "random": np.random.default_rng(1).bit_generator.state,
        "odd": [
            None,
            True,
            1,
            2**200,
            0.1,
            float("nan"),
            float("inf"),
            "text \u4e92\u76f8\u5173",
            [],
            {},
            (),
        ],
        "a/b": np.arange(3, dtype=np.uint8),
        "a": {"b": np.array([True, False])},
        "__fastconv__": np.ones(2),
        "__metadata__": np.ones(1),
        "mark": {"__array__": "no array", "__items__": 3},
    }
    fc.save(checkpoint, path)
    assert same(checkpoint, fc.load(path))


def test_channels_last_and_sliced_arrays(path):
    x = np.arange(120, dtype=np.float32).reshape(2, 4, 5, 3)
    fc.save({"nhwc": x.transpose(0, 3, 1, 2), "rows": x[::-1, ::2]}, path)
    back = fc.load(path)
    assert np.array_equal(back["nhwc"].numpy(), x.transpose(0, 3, 1, 2))
    assert np.array_equal(back["rows"].numpy(), x[::-1, ::2])
    back["rows"].numpy()[0] = 1  # writeable


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([np.float32([1, np.nan]), np.int64(3) + np.zeros((1, 2), int)]),
)
MARKS = ["__array__", "__tuple__", "__items__", "value"]
names = st.one_of(st.text("ab/_.", max_size=4), st.integers(0, 9), st.sampled_from(MARKS))


@given(st.recursive(leaves, lambda x: st.lists(x, max_size=3) | st.dictionaries(names, x, max_size=4)))
def test_any_nesting(tree):
    buffer = stdio.BytesIO()
    fc.save({"tree": tree}, buffer)
    buffer.seek(0)
    assert same({"tree": tree}, fc.load(buffer))


def test_files_of_other_programs(tmp_path):
    arrays = {"w": np.arange(6.0).reshape(2, 3), "file": np.ones(2, np.int64)}
    np.savez_compressed(tmp_path / "numpy.npz", w=arrays["w"])
    assert np.array_equal(fc.load(tmp_path / "numpy.npz")["w"].numpy(), arrays["w"])
    fc.save(arrays, tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz", allow_pickle=False) as z:
        assert set(z.files) == set(arrays) and np.array_equal(z["w"], arrays["w"])
    package = pytest.importorskip("safetensors.numpy")
    fc.save(arrays, tmp_path / "ours.safetensors")
    assert np.array_equal(package.load_file(tmp_path / "ours.safetensors")["w"], arrays["w"])
    package.save_file(arrays, tmp_path / "theirs.safetensors", {"format": "np"})
    assert same(arrays["w"], fc.load(tmp_path / "theirs.safetensors")["w"])


DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]


def test_safetensors_of_every_type(tmp_path):
    arrays = {d: np.arange(-3, 3).astype(d).reshape(2, 3) for d in DTYPES}
    arrays |= {"0-d": np.ones((), "f4"), "none": np.zeros((0, 2))}
    fc.save(arrays, tmp_path / "x.safetensors")
    back = fc.load(tmp_path / "x.safetensors")
    assert same(arrays, back)
    fc.save({"big": np.arange(3, dtype=">f4")}, tmp_path / "big.safetensors")
    assert np.array_equal(fc.load(tmp_path / "big.safetensors")["big"].numpy(), [0, 1, 2])
    package = pytest.importorskip("safetensors.numpy")
    theirs = package.load_file(tmp_path / "x.safetensors")
    assert all(np.array_equal(theirs[k], a) and theirs[k].dtype == a.dtype for k, a in arrays.items())


def safe_file(path, header, data=b""):
    words = json.dumps(header).encode()
    path.write_bytes(len(words).to_bytes(8, "little") + words + data)
    return path


def test_safetensors_by_hand(tmp_path):
    path = tmp_path / "x.safetensors"
    halves = np.array([1.5, -2.0, np.inf], "<f4").tobytes()
    bf16 = b"".join(halves[i + 2 : i + 4] for i in (0, 4, 8))  # the upper halves
    header = {
        "b": {"dtype": "BF16", "shape": [3, 1], "data_offsets": [0, 6]},
        "i": {"dtype": "I16", "shape": [], "data_offsets": [6, 8]},
        "__metadata__": {"format": "pt"},
    }
    back = fc.load(safe_file(path, header, bf16 + b"\x02\x01"))
    assert (
        back["b"].dtype == np.float32
        and back["b"].tolist() == [[1.5], [-2.0], [np.inf]]
        and back["i"].item() == 258
    )
    for wrong, message in (
        ({"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}, "a is of type F8_E5M2"),
        (
            {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
            "a of shape .3. and type F32 takes 12 bytes.*0 to 8 span 8",
        ),
        (
            {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
            "a begins at 4, but the array before it ends at 0",
        ),
        ({"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}, "8 to 0 span -8"),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]}, r"a has the shape \[-2\]"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}, r"a has .* offsets \[-8, 0\]"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0.0, 8.0]}, r"a has .* offsets \[0.0, 8.0\]"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}, r"a has .* offsets \[0, 8, 8\]"),
        ({"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}, r"a has the shape \[True, 2\]"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "the arrays take 4 bytes, the file has 8"),
        (
            {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
            "the arrays take 4398046511104 bytes, the file .* 8",
        ),
        ({"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}, "a is of type"),
        ({"shape": [2]}, "a has no dtype, shape and data_offsets"),
        ([1], "a has no dtype, shape and data_offsets"),
    ):
        with pytest.raises(ValueError, match=f"load: .*x.safetensors .*{message}"):
            fc.load(safe_file(path, {"a": wrong}, bytes(8)))
    f32 = {"dtype": "F32", "shape": [1]}
    for extents, message in (
        (([0, 4], [0, 4]), "b begins at 0, but the array before it ends at 4"),
        (([4, 8], [2, 6]), "b begins at 2, but the array before it ends at 0"),
        (([0, 4], [8, 12]), "b begins at 8, but the array before it ends at 4"),
        (([0, 4], [4, 8]), "the arrays take 8 bytes, the file has 12"),
    ):
        header = {name: {**f32, "data_offsets": e} for name, e in zip("ab", extents)}
        with pytest.raises(ValueError, match=message):
            fc.load(safe_file(path, header, bytes(12)))
    a = b'"a":{"dtype":"%s","shape":[1],"data_offsets":[0,4]}'
    twice = b"{" + a % b"F32" + b"," + a % b"I32" + b"}"
    for words, message in (
        (twice, "a occurs twice"),
        (b"[1]", "its header is a list"),
        (b'{"a": 1', "damaged"),
        (b'{"__metadata__": 3}', "its metadata is a int"),
        (b"{" * 50000, "damaged"),
    ):
        path.write_bytes(len(words).to_bytes(8, "little") + words + bytes(4))
        with pytest.raises(ValueError, match=message):
            fc.load(path)
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(ValueError, match="the file says that its header has 18446744073709551615 bytes"):
        fc.load(path)


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_truncated(path, keep):
    fc.save({"net": {"w": fc.randn(50, 50)}, "n": 3}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ValueError, match="load: expected a .* file") as e:
        fc.load(path)
    assert str(path) in str(e.value) and f"{int(len(data) * keep)} bytes" in str(e.value)


def test_flipped_bits(tmp_path):
    path = tmp_path / "file.npz"
    fc.save({"w": fc.zeros(50, 50)}, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        fc.load(path)


def test_other_contents(path, tmp_path):
    path.write_bytes(b"<html>404 not found</html>")
    with pytest.raises(ValueError, match="<html>"):
        fc.load(path)
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="objects.npz"):
        fc.load(tmp_path / "objects.npz")
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as z:
        z.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="odd.npz"):
        fc.load(tmp_path / "odd.npz")
    fastconv.io.save({"a": 1}, tmp_path / "bad.npz")
    with open(tmp_path / "bad.npz", "wb") as f:
        fastconv.io.npz.write(f, {}, '{"a": {"__array__": "gone"}}')
    with pytest.raises(ValueError, match="gone"):
        fc.load(tmp_path / "bad.npz")


def test_unknown_names(tmp_path):
    for name in ("net", "net.pht", "net.pkl"):
        with pytest.raises(ValueError, match=r"save: expected a file name that ends in \.npz, .*, got .*net"):
            fc.save({}, tmp_path / name)
    for name in ("none", "none.npz", "none.safetensors", "none.pth", "none.pkl"):
        with pytest.raises(FileNotFoundError):
            fc.load(tmp_path / name)


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match="cannot save set .at a/0"):
        fc.save({"a": [{1, 2}]}, tmp_path / "x.npz")
    with pytest.raises(TypeError, match="keys must be strings or ints, got 1.5"):
        fc.save({1.5: 1}, tmp_path / "x.npz")
    with pytest.raises(TypeError, match="array at a has dtype object"):
        fc.save({"a": np.array([{}])}, tmp_path / "x.npz")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("when", ["write", "fsync", "replace"])
def test_a_full_disk_keeps_the_old_file(path, monkeypatch, when):
    fc.save({"w": fc.ones(3)}, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    if when == "write":

        class Full(stdio.FileIO):
            written = 0

            def write(self, data):
                Full.written += len(data)
                if Full.written > 1000:
                    full()
                return super().write(data)

        monkeypatch.setattr(atomic, "open", Full, raising=False)
    else:
        monkeypatch.setattr(os, when, full)
    with pytest.raises(OSError, match="No space"):
        fc.save({"w": fc.zeros(3000)}, path)
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
    assert same(np.ones(3, np.float32), fc.load(path)["w"])
