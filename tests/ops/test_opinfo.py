"""PyTorch's own samples of operators: every sample of every promised name, forward and gradients.

PyTorch tests its operators with a database of samples (``op_db`` in ``torch.testing._internal``): inputs of
many shapes, strides and options for each name. ``PROMISED`` lists the names that fastconv has. The inputs are
float32, the expected values are PyTorch's in float64.

A sample is skipped only for what ``LEFT_OUT`` gives a reason.
"""

from __future__ import annotations

import functools
import operator
import warnings

import numpy as np
import pytest
from conftest import is_slow

import fastconv as fc
from fastconv.nn import functional as F

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="PyTorch's samples need it")
db = pytest.importorskip("torch.testing._internal.common_methods_invocations")

PROMISED = {
    "nn.functional.": """
    relu6 hardtanh hardswish hardsigmoid prelu elu selu celu mish softplus softsign logsigmoid
    hardshrink softshrink tanhshrink threshold glu softmin softmin|with_dtype relu leaky_relu gelu
    silu conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear max_pool1d
    max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d max_unpool1d
    max_unpool2d max_unpool3d max_unpool1d|grad max_unpool2d|grad max_unpool3d|grad interpolate|area
    interpolate|bicubic interpolate|bilinear interpolate|linear interpolate|nearest
    interpolate|nearest-exact interpolate|trilinear upsample_bilinear upsample_nearest grid_sample
    pixel_shuffle pixel_unshuffle channel_shuffle unfold pad|circular pad|constant pad|reflect
    pad|replicate pad|replicate_negative batch_norm layer_norm group_norm local_response_norm
    instance_norm rms_norm normalize l1_loss smooth_l1_loss huber_loss mse_loss binary_cross_entropy
    binary_cross_entropy_with_logits kl_div gaussian_nll_loss poisson_nll_loss margin_ranking_loss
    triplet_margin_loss triplet_margin_with_distance_loss cosine_embedding_loss hinge_embedding_loss
    multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss soft_margin_loss
    cross_entropy nll_loss cosine_similarity pairwise_distance one_hot embedding bilinear
    scaled_dot_product_attention dropout dropout2d dropout3d alpha_dropout
    feature_alpha_dropout|with_train feature_alpha_dropout|without_train
    """,
    "": """
    clamp where maximum minimum split split|list_args split_with_sizes chunk stack cat unbind narrow
    gather scatter scatter_add index_select index_add take_along_dim masked_fill masked_select
    expand expand_as repeat flip roll movedim tril triu diagonal var var|unbiased std std|unbiased
    norm norm|fro norm|inf prod amax amin aminmax logsumexp cumsum cumprod logcumsumexp cummax cummin
    var_mean var_mean|unbiased std_mean std_mean|unbiased nansum nanmean median nanmedian kthvalue
    sort argsort msort topk unique unique_consecutive histc nonzero searchsorted bucketize any all
    count_nonzero einsum bmm mm addmm outer matmul dot mv floor ceil round round|decimals_0
    round|decimals_3 round|decimals_neg_3 trunc sign sin cos log1p expm1 rsqrt reciprocal isnan
    isinf isfinite square erf log2 log10 zeros_like ones_like full_like rand_like randn_like
    linspace allclose isclose equal abs add sub mul div|no_rounding_mode div|floor_rounding
    div|trunc_rounding true_divide floor_divide remainder pow neg exp log sqrt sigmoid tanh softmax
    softmax|with_dtype log_softmax log_softmax|with_dtype eq ne lt le gt ge logical_and logical_or
    logical_not logical_xor bitwise_and bitwise_or bitwise_xor bitwise_not sum mean max|binary
    max|reduction_no_dim max|reduction_with_dim min|binary min|reduction_no_dim
    min|reduction_with_dim argmax argmin reshape view view_as reshape_as flatten unflatten permute
    transpose squeeze squeeze|multiple unsqueeze t clone contiguous fill item select __getitem__
    tensor_split fliplr flipud rot90 diag diag_embed ravel unfold tile repeat_interleave broadcast_to
    broadcast_tensors meshgrid|variadic_tensors meshgrid|list_of_tensors atleast_1d atleast_2d
    atleast_3d hstack vstack dstack column_stack index_fill index_copy index_put take scatter_reduce|sum
    scatter_reduce|prod scatter_reduce|mean scatter_reduce|amax scatter_reduce|amin masked_scatter
    addmm|decomposed addmv addbmm baddbmm addr vdot inner kron tensordot trace logspace arange eye empty
    empty_like new_zeros new_ones new_full new_empty zeros ones full randn randint randint_like normal
    normal|number_mean multinomial bernoulli to bool byte char double float int long short
    __radd__ __rmul__ __rsub__ __rdiv__ __rpow__ __rmatmul__ linalg.vector_norm linalg.norm
    """,
}
# name -> why samples with it, or all of them, are left out: (which sample, reason)
LEFT_OUT: dict[str, list[tuple]] = {
    "linalg.norm": [
        (
            lambda s: (
                "nuc" in (*s.args, s.kwargs.get("ord")) or s.args in ((2,), (-2,)) and s.input.ndim == 2
            ),
            "norms of matrices that need singular values are refused by name",
        )
    ],
    # a seed drops other elements than PyTorch's; tests/nn/test_dropout.py looks at what is dropped
    **{
        f"nn.functional.{name}": [(lambda s: drops(s.kwargs, "p", "training"), "random")]
        for name in (
            *("dropout", "dropout2d", "dropout3d", "alpha_dropout"),
            "feature_alpha_dropout|with_train",
        )
    },
    "nn.functional.scaled_dot_product_attention": [(lambda s: drops(s.kwargs, "dropout_p"), "random")],
    "nn.functional.batch_norm": [(lambda s: s.input.ndim == 1, "PyTorch refuses any other 1-D input than 0")],
}


def drops(options: dict, p: str, training: str | None = None) -> bool:
    """Whether the result depends on random numbers."""
    return bool(options.get(training, True)) and 0 < options.get(p, 0.0 if p == "dropout_p" else 0.5) < 1


# only shape and dtype can be compared
RANDOM = set(
    "rand_like randn_like randn randint randint_like normal normal|number_mean bernoulli multinomial empty "
    "empty_like new_empty".split()
)


def promised() -> list[str]:
    """The names in PROMISED, as the database writes them; a variant stands behind ``|``."""
    return [prefix + name for prefix, names in PROMISED.items() for name in names.split()]


@functools.cache
def database():
    return {o.name + (f"|{o.variant_test_name}" if o.variant_test_name else ""): o for o in db.op_db}


def functions(name: str):
    """Our function of that name, and PyTorch's."""
    info = database()[name]
    plain = {"__rdiv__": "__rtruediv__"}.get(info.name, info.name)
    if plain == "einsum":  # the samples have the operands first
        return (lambda operands, equation: fc.einsum(equation, operands)), info.op
    if plain == "nn.functional.embedding":  # PyTorch's samples have the weight first
        return (lambda weight, index, **options: F.embedding(index, weight, **options)), info.op
    if plain.startswith("nn.functional."):
        return getattr(F, plain.removeprefix("nn.functional.")), info.op
    if plain == "where":  # the samples have the order of the method's arguments
        return fc.Tensor.where, info.op
    if "." in plain:
        return operator.attrgetter(plain)(fc), info.op
    ours = getattr(fc, plain, None)  # of ``float`` and its like it is the type
    return (ours if callable(ours) else getattr(fc.Tensor, plain)), info.op


def ours(value, leaves):
    """PyTorch's argument as fastconv's; tensors that require gradients are noted in ``leaves``."""
    if isinstance(value, torch.Tensor):
        array = value.detach().resolve_neg().numpy()
        t = fc.tensor(
            array, requires_grad=value.requires_grad, device="cuda" if fc.get_backend() == "cuda" else "cpu"
        )
        if value.requires_grad:
            leaves.append(t)
        return t
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, torch.device):
        return value.type
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, torch.nn.Module):  # a function of distance
        return getattr(fc.nn, type(value).__name__)()
    if isinstance(value, (list, tuple)):
        return type(value)(ours(v, leaves) for v in value)
    return value


def theirs(value, leaves):
    """PyTorch's argument in float64."""
    if isinstance(value, torch.Tensor):
        t = value.detach().clone()
        if t.dtype == torch.float32:
            t = t.double()
        if value.requires_grad:
            leaves.append(t.requires_grad_())
        return t
    if value is torch.float32:
        return torch.float64
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(theirs(v, leaves) for v in value)
    return value


def flat(result):
    if isinstance(result, (tuple, list)):
        return [r for part in result for r in flat(part)]
    return [result]


def array(value):
    return value.detach().numpy() if isinstance(value, (torch.Tensor, fc.Tensor)) else np.asarray(value)


def check_sample(name, sample, backend):
    mine, their = functions(name)
    a, b = [], []
    with fc.backend(backend):
        args = [ours(v, a) for v in (sample.input, *sample.args)]
        kwargs = {
            k: ours(v, a) for k, v in sample.kwargs.items() if k not in ("device", "layout", "memory_format")
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            positional = [theirs(v, b) for v in (sample.input, *sample.args)]  # before the keywords, as above
            expected = flat(their(*positional, **{k: theirs(v, b) for k, v in sample.kwargs.items()}))
        got = flat(mine(*args, **kwargs))
        assert len(got) == len(expected)
        for g, e in zip(got, expected):
            g, e = (sample.output_process_fn_grad(v) if isinstance(v, torch.Tensor) else v for v in (g, e))
            ga, ea = array(g), array(e)
            assert ga.shape == ea.shape, f"shape: got {ga.shape}, expected {ea.shape}"
            assert ga.dtype.kind == ea.dtype.kind, f"dtype: got {ga.dtype}, expected {ea.dtype}"
            if name not in RANDOM:
                close(ga, ea, "result")
        if name in RANDOM:
            return
        pairs = [(g, e) for g, e in zip(got, expected) if isinstance(e, torch.Tensor) and e.requires_grad]
        assert all(g.requires_grad for g, e in pairs), "the result should be on the tape"
        if not b or not pairs or not database()[name].supports_autograd:
            return
        rng = np.random.default_rng(0)
        seeds = [rng.standard_normal(e.shape) for _, e in pairs]
        grads = torch.autograd.grad(
            [e for _, e in pairs], b, [torch.tensor(s) for s in seeds], allow_unused=True
        )
        total = functools.reduce(
            lambda s, t: s + t,
            [
                (g * fc.tensor(s.astype(np.float32), device=str(g.device))).sum()
                for (g, _), s in zip(pairs, seeds)
            ],
        )
        total.backward()
        for leaf, expected_grad in zip(a, grads):
            if expected_grad is None:
                assert leaf.grad is None or not leaf.grad.numpy().any()
            else:
                value = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
                close(value, expected_grad.numpy(), "gradient")


def close(got, expected, what):
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected, err_msg=what)
        return
    finite = expected[np.isfinite(expected)]
    scale = np.abs(finite).max() if finite.size else 1.0
    if scale < 1e-6:  # terms of size 1 that cancel, of which the rounding errors of float32 stay
        scale = 1.0
    np.testing.assert_allclose(
        got, expected, rtol=2e-4, atol=2e-5 * max(scale, 1e-3), equal_nan=True, err_msg=what
    )


def reason(name, sample):
    """Why a sample is left out; None where it counts."""
    for which, why in LEFT_OUT.get(name, ()):
        if which(sample):
            return why
    return None


@pytest.mark.parametrize("name", promised())
@pytest.mark.full
@pytest.mark.parametrize("backend", ["numpy", "cpu", "cuda"])
def test_samples(name, backend):
    """Every sample: values, shapes, kinds of dtype, gradients.

    In the CUDA simulator every third, of volumes and where there are hundreds."""
    info = database()[name]
    dtype = torch.float32 if torch.float32 in info.dtypes else torch.int64
    differentiable = info.supports_autograd and dtype.is_floating_point
    samples = list(info.sample_inputs("cpu", dtype, requires_grad=differentiable))
    if is_slow(backend) and (name.endswith("3d") or len(samples) > 200):  # 10 to 70 s each
        samples = samples[::3]
    problems, left = [], []
    for i, sample in enumerate(samples):
        if (why := reason(name, sample)) is not None:
            left.append(why)
            continue
        try:
            check_sample(name, sample, backend)
        except Exception as e:  # noqa: BLE001 - all samples are tried; the message lists what failed
            lines = [line for line in str(e).strip().splitlines() if line.strip()]
            problems.append(f"{i}: {sample.summary()}\n    {type(e).__name__}: {' '.join(lines)[:400]}")
    assert not problems, f"{len(problems)} of {len(samples)} samples:\n" + "\n".join(problems[:20])
    assert len(left) < len(samples), f"no sample is left: {set(left)}"
