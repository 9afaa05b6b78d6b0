"""Bad arguments of methods and makers: the error's type, the name it begins with, what was expected and what
came."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc

X = fc.zeros(2, 3)
CUBE = fc.zeros(2, 3, 4)
IDS = fc.tensor([[0, 1, 2], [2, 1, 0]])
HUGE = 2**62

# what is called, error, parts of the message (the first is the name)
BAD = [
    # ---- shapes
    (lambda: X.reshape(4, 2), ValueError, ["reshape", "6 elements (2x3)", "(4, 2)"]),
    (lambda: X.reshape(-1, -1), ValueError, ["reshape", "only one extent can be -1"]),
    (lambda: X.view(4), ValueError, ["view", "6 elements (2x3)"]),
    (lambda: X.view("int32"), TypeError, ["view", "shape must be"]),
    (lambda: X.view_as(3), ValueError, ["view", "6 elements"]),
    (lambda: X.unflatten(1, (2, 2)), ValueError, ["unflatten", "(2, 2)", "extent 3 of dimension 1"]),
    (lambda: X.unflatten(1, (-1, -1)), ValueError, ["unflatten", "(-1, -1)"]),
    (lambda: X.flatten(1, 0), ValueError, ["flatten", "comes after"]),
    (lambda: X.squeeze((0, 0)), ValueError, ["squeeze", "different dimensions"]),
    (lambda: X.squeeze(2), IndexError, ["squeeze", "dim 2 is out of range"]),
    (lambda: X.permute(0, 0), ValueError, ["permute", "every dimension of 2x3 once"]),
    (lambda: X.swapaxes(0, 2), IndexError, ["swapaxes", "dim 2"]),
    (lambda: X.swapdims(0, "a"), TypeError, ["swapdims", "dim must be an int"]),
    (lambda: X.movedim((0, 1), 1), ValueError, ["movedim", "one length"]),
    (lambda: X.moveaxis((0, 0), (0, 1)), ValueError, ["moveaxis", "different dimensions"]),
    (lambda: CUBE.t(), ValueError, ["t", "at most a matrix", "2x3x4"]),
    (lambda: fc.zeros(3).mT, ValueError, ["mT", "two dimensions, got 1"]),
    (lambda: X.contiguous(memory_format="rows"), ValueError, ["contiguous", "memory_format", "'rows'"]),
    (lambda: X.stride(2), IndexError, ["stride", "dim 2"]),
    # ---- parts
    (lambda: X.split(0), ValueError, ["split", "at least 1", "extent 2"]),
    (lambda: X.split([1, 2]), ValueError, ["split", "(1, 2)", "extent 2 of dimension 0 (2x3)"]),
    (lambda: X.split(1.5), TypeError, ["split", "split_size must be an int"]),
    (lambda: fc.tensor(1.0).split(1), ValueError, ["split", "a scalar"]),
    (lambda: X.split_with_sizes(2), TypeError, ["split_with_sizes", "list of ints", "use split"]),
    (lambda: X.chunk(0), ValueError, ["chunk", "chunks must be at least 1"]),
    (lambda: X.tensor_split(0), ValueError, ["tensor_split", "sections must be at least 1"]),
    (lambda: X.tensor_split(fc.ones(2)), ValueError, ["tensor_split", "integers", "float32"]),
    (lambda: X.unbind(2), IndexError, ["unbind", "dim 2"]),
    (lambda: X.narrow(1, 2, 2), ValueError, ["narrow", "start 2 and length 2", "extent 3"]),
    (lambda: X.narrow(1, 5, 1), IndexError, ["narrow", "start 5"]),
    (lambda: X.narrow(1, 0, -1), ValueError, ["narrow", "length must be at least 0"]),
    (lambda: X.select(0, 2), IndexError, ["select", "index 2", "extent 2 of dimension 0"]),
    (lambda: X.diagonal(0, 1, 1), ValueError, ["diagonal", "two different dimensions"]),
    (lambda: X.diagonal(0.5), TypeError, ["diagonal", "offset must be an int"]),
    (lambda: CUBE.diag(), ValueError, ["diag", "a vector or a matrix, got 3"]),
    (lambda: fc.tensor(1.0).diag_embed(), ValueError, ["diag_embed", "at least one dimension"]),
    (lambda: X.unfold(1, 4, 1), ValueError, ["unfold", "size 4", "extent 3 of dimension 1"]),
    (lambda: X.unfold(1, 2, 0), ValueError, ["unfold", "step must be at least 1"]),
    (lambda: fc.zeros(3).tril(), ValueError, ["tril", "two dimensions, got 1"]),
    (lambda: X.triu("a"), TypeError, ["triu", "diagonal must be an int"]),
    # ---- repeated, in another order
    (lambda: X.expand(2, 4), ValueError, ["expand", "only dimensions of extent 1", "2x3", "2x4"]),
    (lambda: X.expand(3), ValueError, ["expand", "fewer dimensions"]),
    (lambda: X.expand(-1, 2, 3), ValueError, ["expand", "a new dimension has none"]),
    (lambda: X.expand_as(fc.zeros(3)), ValueError, ["expand_as", "fewer dimensions"]),
    (lambda: X.broadcast_to((2, 4)), ValueError, ["broadcast_to", "2x4"]),
    (lambda: X.repeat(2), ValueError, ["repeat", "each of the 2 dimensions"]),
    (lambda: X.repeat(2, -1), ValueError, ["repeat", "repeats must be at least 0"]),
    (lambda: X.tile("a"), TypeError, ["tile", "repeats must be"]),
    (
        lambda: X.repeat_interleave(fc.tensor([1, 2]), 1),
        ValueError,
        ["repeat_interleave", "3 slices", "int64 2"],
    ),
    (lambda: X.repeat_interleave(-1), ValueError, ["repeat_interleave", "at least 0, got -1"]),
    (lambda: X.repeat_interleave(HUGE), ValueError, ["repeat_interleave", "2^40"]),
    (
        lambda: X.repeat_interleave(2, 0, output_size=3),
        ValueError,
        ["repeat_interleave", "extent 4", "output_size 3"],
    ),
    (lambda: X.flip(0, 0), ValueError, ["flip", "different dimensions"]),
    (lambda: fc.zeros(3).fliplr(), ValueError, ["fliplr", "two dimensions, got 1"]),
    (lambda: fc.tensor(1.0).flipud(), ValueError, ["flipud", "a scalar"]),
    (lambda: X.roll((1, 2)), ValueError, ["roll", "2 and 0"]),
    (lambda: X.roll(1, 2), IndexError, ["roll", "dim 2"]),
    (lambda: X.rot90(1, (0, 0)), ValueError, ["rot90", "two different dimensions"]),
    (lambda: X.rot90(1, (0,)), ValueError, ["rot90", "two dims"]),
    # ---- indices
    (lambda: X.gather(1, fc.tensor([0, 1])), ValueError, ["gather", "2 (2x3)", "1 (2)"]),
    (
        lambda: X.gather(0, fc.tensor([[0] * 4])),
        ValueError,
        ["gather", "1x4", "2x3", "any dimension except 0"],
    ),
    (
        lambda: X.gather(1, IDS + 1),
        IndexError,
        ["gather", "index 3 is out of bounds for dimension 1 of extent 3"],
    ),
    (lambda: X.gather(1, IDS - 1), IndexError, ["gather", "index -1"]),
    (lambda: X.gather(1, IDS.float()), TypeError, ["gather", "int64 or int32, got float32", ".long()"]),
    (lambda: X.gather(2, IDS), IndexError, ["gather", "dim 2"]),
    (lambda: X.gather(1, IDS, sparse_grad=True), ValueError, ["gather", "sparse_grad"]),
    (lambda: X.take_along_dim(IDS[0], 1), ValueError, ["take_along_dim", "2 (2x3)", "1 (3)"]),
    (lambda: X.take_along_dim(IDS + 1, 1), IndexError, ["take_along_dim", "index 3"]),
    (lambda: X.scatter(1, IDS), TypeError, ["scatter", "one of src and value"]),
    (lambda: X.scatter(1, IDS, X.double()), TypeError, ["scatter", "float32, got float64"]),
    (lambda: X.scatter(1, IDS, X[:1]), ValueError, ["scatter", "src (1x3)"]),
    (lambda: X.scatter(1, IDS + 1, X), IndexError, ["scatter", "index 3"]),
    (lambda: X.scatter(1, IDS, "a"), TypeError, ["scatter", "value must be a number, got 'a'"]),
    (
        lambda: X.scatter(1, IDS, X, reduce="max"),
        ValueError,
        ["scatter", "reduce must be 'add' or 'multiply'"],
    ),
    (lambda: X.scatter_add(1, IDS, 1.0), TypeError, ["scatter_add", "src must be a Tensor, got float"]),
    (lambda: X.scatter_add(1, IDS + 1, X), IndexError, ["scatter_add", "index 3"]),
    (lambda: X.scatter_reduce(1, IDS, X, "max"), ValueError, ["scatter_reduce", "'amax'", "'max'"]),
    (lambda: X.index_select(0, IDS), ValueError, ["index_select", "a vector", "2x3"]),
    (lambda: X.index_select(0, fc.tensor([2])), IndexError, ["index_select", "index 2"]),
    (lambda: X.index_add(0, fc.tensor([0]), X), ValueError, ["index_add", "1x3", "got 2x3"]),
    (lambda: X.index_add(0, fc.tensor([0]), 1.0), TypeError, ["index_add", "source must be a Tensor"]),
    (lambda: X.long().index_add(0, fc.tensor([0]), X[:1]), TypeError, ["index_add", "int64, got float32"]),
    (lambda: X.index_copy(0, fc.tensor([0]), X[:1].double()), TypeError, ["index_copy", "got float64"]),
    (lambda: X.index_fill(0, fc.tensor([0]), X), ValueError, ["index_fill", "value must be a number"]),
    (lambda: X.index_fill(0, fc.tensor([5]), 1), IndexError, ["index_fill", "index 5"]),
    (lambda: X.take(fc.tensor([6])), IndexError, ["take", "index 6"]),
    (lambda: X.index_put(fc.tensor([0]), X), TypeError, ["index_put", "a tuple of tensors, got Tensor"]),
    (lambda: X.index_put((fc.tensor([0]),), X.double()), TypeError, ["index_put", "got float64"]),
    (lambda: X.index_put((fc.tensor([7]),), X[0], accumulate=True), IndexError, ["index_put", "index 7"]),
    (lambda: X.masked_fill(IDS, 0.0), TypeError, ["masked_fill", "bool tensor, got int64", ".bool()"]),
    (lambda: X.masked_fill(IDS > 0, X), ValueError, ["masked_fill", "got 2x3", "where"]),
    (lambda: X.masked_fill(IDS > 0, "a"), TypeError, ["masked_fill", "value must be a number"]),
    (lambda: X.masked_fill(fc.ones(4) > 0, 0), ValueError, ["masked_fill", "2x3", "4"]),
    (lambda: X.masked_select(IDS), TypeError, ["masked_select", "got int64"]),
    (lambda: X.masked_scatter(IDS >= 0, X[0]), ValueError, ["masked_scatter", "6 elements", "only 3"]),
    (lambda: X[0, 0, 0], IndexError, ["index", "2x3"]),
    (lambda: X[{}], IndexError, ["index"]),
    (lambda: X["a"], IndexError, ["index"]),
    (lambda: X[fc.ones(2)], IndexError, ["index"]),
    # ---- products
    (lambda: X.mm(X), ValueError, ["mm", "2x3 @ 2x3"]),
    (lambda: X.mm(fc.zeros(3)), ValueError, ["mm", "mat2 must have 2 dimensions (a matrix)"]),
    (lambda: X.mm(X.t().double()), TypeError, ["mm", "one dtype, got float32 and float64"]),
    (lambda: X.mm(3), TypeError, ["mm", "mat2 must be a Tensor, got int"]),
    (lambda: X.bmm(X), ValueError, ["bmm", "input must have 3 dimensions"]),
    (lambda: CUBE.bmm(fc.zeros(3, 4, 5)), ValueError, ["bmm", "the batches differ: 2x3x4 @ 3x4x5"]),
    (lambda: X.mv(fc.zeros(2)), ValueError, ["mv", "2x3 @ 2"]),
    (lambda: X.dot(X), ValueError, ["dot", "input must have 1 dimensions (a vector)"]),
    (lambda: fc.zeros(2).vdot(fc.zeros(3)), ValueError, ["vdot", "2 @ 3"]),
    (lambda: X.outer(X[0]), ValueError, ["outer", "a vector"]),
    (lambda: X.inner(fc.zeros(2)), ValueError, ["inner", "2x3 and 2"]),
    (lambda: X.addmm(X, X.t()), ValueError, ["addmm", "2x3", "2x2"]),
    (lambda: X.addmm(X, fc.zeros(3, 3), alpha="a"), TypeError, ["addmm", "alpha must be a number"]),
    (lambda: X.long().addmm(X, fc.zeros(3, 3)), TypeError, ["addmm", "int64 and float32"]),
    (lambda: X.addmv(X, X), ValueError, ["addmv", "vec must have 1"]),
    (lambda: X.addr(X, X), ValueError, ["addr", "vec1"]),
    (lambda: X.addbmm(X, X), ValueError, ["addbmm", "batch1"]),
    (lambda: CUBE.baddbmm(CUBE, X), ValueError, ["baddbmm", "batch2"]),
    (lambda: X.tensordot(X, ([0], [1])), ValueError, ["tensordot", "[0] of 2x3 and [1] of 2x3"]),
    (lambda: X.tensordot(X, 3), ValueError, ["tensordot", "dims 3"]),
    (lambda: X.kron("a"), TypeError, ["kron", "other must be a Tensor"]),
    (lambda: CUBE.trace(), ValueError, ["trace", "a matrix, got 3"]),
    (
        lambda: fc.einsum("ij,jk", X, X),
        ValueError,
        ["einsum", "index 'j' has extent 2", "and 3 in an earlier"],
    ),
    (lambda: fc.einsum("ij->ijk", X), ValueError, ["einsum", "'ijk'", "['k']"]),
    (lambda: fc.einsum("ij->ii", X), ValueError, ["einsum", "occurs twice in the result"]),
    (lambda: fc.einsum("i", X), ValueError, ["einsum", "1 dimensions, and operand 0 has 2", "'...'"]),
    (lambda: fc.einsum("ii", X), ValueError, ["einsum", "2 and 3"]),
    (lambda: fc.einsum("i;j", X), ValueError, ["einsum", "expected letters", "'i;j'"]),
    (lambda: fc.einsum("ij", X, X), ValueError, ["einsum", "1 operands, and 2 were given"]),
    (lambda: fc.einsum("ij,jk", X, X.t().double()), TypeError, ["einsum", "one dtype"]),
    (lambda: fc.einsum(X, [0, 1]), TypeError, ["einsum", "must be a string", "give letters"]),
    # ---- joined
    (lambda: fc.cat([X, fc.zeros(2, 2)]), ValueError, ["cat", "2x3 and 2x2"]),
    (lambda: fc.concat([fc.tensor(1.0)]), ValueError, ["concat", "a scalar", "use stack"]),
    (lambda: fc.vstack(X), TypeError, ["vstack", "list or tuple of tensors, got Tensor"]),
    (lambda: fc.hstack([]), ValueError, ["hstack", "at least one tensor"]),
    (lambda: fc.dstack([X, fc.zeros(3, 3)]), ValueError, ["dstack", "2x3x1 and 3x3x1"]),
    (lambda: fc.meshgrid(X), ValueError, ["meshgrid", "a vector or a scalar"]),
    (lambda: fc.meshgrid(X[0], indexing="ji"), ValueError, ["meshgrid", "'ij' or 'xy', got 'ji'"]),
    (lambda: fc.broadcast_tensors(X, fc.zeros(4)), ValueError, ["broadcast_tensors", "2x3 and 4"]),
    # ---- new tensors
    (lambda: fc.zeros(2, size=(2,)), TypeError, ["zeros", "size once"]),
    (lambda: fc.empty(HUGE), ValueError, ["empty", "2^40"]),
    (lambda: fc.zeros_like("a"), TypeError, ["zeros_like", "input"]),
    (lambda: fc.full_like(X, [1, 2]), ValueError, ["full_like", "fill_value must be a number"]),
    (lambda: fc.ones_like(X, dtype="complex64"), TypeError, ["ones_like", "'complex64'"]),
    (lambda: X.new_zeros(-1), ValueError, ["new_zeros", "size must be at least 0"]),
    (lambda: X.new_full((2,), X), ValueError, ["new_full", "fill_value must be a number"]),
    (lambda: X.new_tensor("a"), TypeError, ["new_tensor", "data"]),
    (lambda: fc.arange(), TypeError, ["arange", "missing 'end'"]),
    (lambda: fc.arange(1, 2, 3, 4), TypeError, ["arange", "got 4 arguments"]),
    (lambda: fc.arange(1, 2, end=3), TypeError, ["arange", "got end twice"]),
    (lambda: fc.linspace(0, 1, -1), ValueError, ["linspace", "steps must be at least 0"]),
    (lambda: fc.linspace("a", 1, 3), TypeError, ["linspace", "start must be a number"]),
    (lambda: fc.logspace(0, 1, HUGE), ValueError, ["logspace", "steps must be below 2^40"]),
    (lambda: fc.tril_indices(2, -1), ValueError, ["tril_indices", "at least 0"]),
    (lambda: fc.triu_indices(2, 2, 0.5), TypeError, ["triu_indices", "offset must be an int"]),
    (lambda: fc.rand_like(IDS), TypeError, ["rand_like", "float32 or float64, got int64"]),
    (lambda: fc.randn(2, generator=3), TypeError, ["randn", "generator", "int"]),
    (lambda: fc.randint(5), TypeError, ["randint", "high and size"]),
    (lambda: fc.randint(5, 5, (2,)), ValueError, ["randint", "low must be less than high, got 5 and 5"]),
    (lambda: fc.randint_like(X, 0), ValueError, ["randint_like", "got 0 and 0"]),
    (lambda: fc.randperm(-1), ValueError, ["randperm", "at least 0"]),
    (lambda: fc.normal(0.0, 1.0), TypeError, ["normal", "give size"]),
    (lambda: fc.normal(X, 1.0, (2,)), TypeError, ["normal", "mean is a tensor"]),
    (lambda: fc.normal(X, -1.0), ValueError, ["normal", "std must be at least 0"]),
    (lambda: fc.bernoulli(X + 2), ValueError, ["bernoulli", "between 0 and 1"]),
    (lambda: fc.multinomial(X, 1), ValueError, ["multinomial", "one in each row above 0"]),
    (lambda: fc.multinomial(fc.ones(2), 3), ValueError, ["multinomial", "3 different positions from 2"]),
    # ---- conversions
    (lambda: X.to("gpu"), TypeError, ["to", "a device, 'cpu' or 'cuda', or a dtype", "'gpu'"]),
    (lambda: X.to("cpu", "gpu"), TypeError, ["to", "'gpu'"]),
    (lambda: X.to("cpu", "int8", "int8"), TypeError, ["to", "expected a device, a dtype"]),
    (lambda: X.type(), TypeError, ["type", "give a dtype"]),
    (lambda: X.type("complex64"), TypeError, ["astype", "'complex64'"]),
    (lambda: fc.promote_types("a", "int8"), TypeError, ["promote_types", "'a'"]),
]


@pytest.mark.parametrize("call, error, parts", BAD, ids=[f"{i}-{row[2][0]}" for i, row in enumerate(BAD)])
def test_bad_arguments(call, error, parts):
    name, *words = parts
    with pytest.raises(error) as e:
        call()
    text = str(e.value)
    assert text.startswith((f"{name}: ", f"{name}(")), text
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"


def test_functions_refuse_what_is_no_tensor():
    for name in (
        "flip",
        "gather",
        "mm",
        "roll",
        "tril",
        "split",
        "masked_fill",
        "repeat_interleave",
    ):
        for value in ("image", object(), {}, None, np.array(["a"]), 1j):
            with pytest.raises(TypeError, match=f"^{name}"):
                getattr(fc, name)(value, 0)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda x: x.long().random_(0), ValueError, "random_: start must be below to, got 0 and 0"),
        (lambda x: x.cauchy_("a"), TypeError, "cauchy_: median"),
        (lambda x: x.max((0,), dims=(1,)), TypeError, "max: give one of dim, dims, axis and other"),
        (lambda x: x.min(0, other=x), TypeError, "min: give one of dim, dims, axis and other"),
        (
            lambda x: x.long().index_add(0, fc.tensor([0, 1]), x.long(), alpha=0.5),
            TypeError,
            "index_add: alpha must be an int for a tensor of int64, got 0.5",
        ),
    ],
)
def test_options_that_were_ignored(call, error, match):
    with pytest.raises(error, match=match):
        call(fc.ones(2, 2))


@pytest.mark.parametrize(
    "name",
    [
        "register_forward_pre_hook",
        "register_forward_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_state_dict_pre_hook",
        "register_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_load_state_dict_post_hook",
    ],
)
def test_a_hook_that_is_no_function(name):
    with pytest.raises(TypeError, match=f"^{name}: expected a function, got 3"):
        getattr(fc.nn.ReLU(), name)(3)


@pytest.mark.parametrize(
    "call",
    [
        lambda i, u, m: i.masked_fill(m, float("inf")),
        lambda i, u, m: u.masked_fill(m, 300),
        lambda i, u, m: u.index_fill(0, fc.tensor([0]), 300),
        lambda i, u, m: i.scatter(0, fc.tensor([0]), float("nan")),
        lambda i, u, m: fc.where(m, u, 300),
        lambda i, u, m: fc.where(m, -300, u),
        lambda i, u, m: u.fill_(300),
        lambda i, u, m: i.fill_(float("inf")),
        lambda i, u, m: u.__setitem__(0, float("nan")),
        lambda i, u, m: u.__setitem__(slice(None), [1, 300]),
        lambda i, u, m: fc.full_like(i, float("nan")),
        lambda i, u, m: fc.full((2,), 300, dtype="uint8"),
        lambda i, u, m: u.new_full((2,), 256),
        lambda i, u, m: fc.tensor([1, -256], dtype="uint8"),
        lambda i, u, m: fc.tensor(2.0**63, dtype="int64"),
        lambda i, u, m: fc.tensor([1.0, -129.0], dtype="int8"),
    ],
)
def test_numbers_that_an_integer_dtype_cannot_hold(call):
    ints, bytes_, mask = fc.zeros(2, dtype="int64"), fc.zeros(2, dtype="uint8"), fc.tensor([True, False])
    with pytest.raises(ValueError, match=r"must fit into u?int\d+ \(.*\), got "):
        call(ints, bytes_, mask)


def test_numbers_that_an_integer_dtype_holds():
    assert fc.tensor([255, -1], dtype="uint8").tolist() == [255, 255]  # wraps around below 0, as in PyTorch
    assert fc.tensor([1.7, -1.7], dtype="int64").tolist() == [1, -1]
    assert fc.tensor([127, -128], dtype="int8").tolist() == [127, -128]
    assert fc.full((1,), 2**63 - 1, dtype="int64").item() == 2**63 - 1
    ints, bytes_ = fc.zeros(2, dtype="int64"), fc.zeros(2, dtype="uint8")
    ints[0], bytes_[0], bytes_[1:] = 2**63 - 1, -1, [7.9]
    assert (ints.tolist(), bytes_.tolist()) == ([2**63 - 1, 0], [255, 7])
    assert fc.where(fc.tensor([True, False]), bytes_, -1).tolist() == [255, 255]


def test_rows_of_boundaries():
    with pytest.raises(ValueError, match="bucketize: boundaries must be a vector, got 2x5"):
        fc.bucketize(fc.ones(2, 3), fc.ones(2, 5))
