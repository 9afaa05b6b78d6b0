"""Write docs/pytorch.md: which of PyTorch's names fastconv has, which it has not, and what to write instead.

    python tools/pytorch_page.py

Needs PyTorch. Whether a name is there is asked of the package, which arguments are missing of both
signatures. ``tests/project/test_pytorch_page.py`` checks that the page is what this file makes, that every
name listed here exists in PyTorch, and that both sides of every line of ``INSTEAD`` compute the same.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import fastconv as fc
from fastconv import data, models, nn, optim
from fastconv.nn import functional as F

PAGE = Path(__file__).resolve().parents[1] / "docs" / "pytorch.md"

#: Title -> (what PyTorch calls the place, the place in fastconv, its names there).
PLACES = {
    "Functions on tensors": (
        "torch",
        fc,
        """
        tensor as_tensor from_numpy from_dlpack zeros ones full rand randn arange eye zeros_like ones_like full_like rand_like
        randn_like linspace empty randint randperm cat stack concat where clamp maximum minimum split chunk unbind narrow
        gather scatter scatter_add index_select index_add take_along_dim masked_fill masked_select flip roll movedim swapaxes
        permute transpose reshape flatten squeeze unsqueeze tril triu diagonal sum mean max min argmax argmin var std norm
        prod amax amin logsumexp cumsum cumprod sort topk any all count_nonzero einsum matmul bmm mm addmm outer add sub mul
        div pow abs neg exp log sqrt relu sigmoid tanh softmax log_softmax floor ceil round trunc sign sin cos log1p expm1
        rsqrt reciprocal isnan isinf isfinite allclose no_grad enable_grad inference_mode set_grad_enabled is_grad_enabled
        manual_seed save load float16 bfloat16 float32 float64 uint8 int8 int16 int32 int64 bool set_num_threads
        get_num_threads device compile autocast""",
    ),
    "Methods of `Tensor`": (
        "torch.Tensor",
        fc.Tensor,
        """
        shape dtype device ndim requires_grad grad data T numel size dim item tolist numpy detach clone to cpu cuda float
        double half long int bool backward requires_grad_ is_leaf grad_fn retain_grad register_hook reshape view flatten
        permute transpose t squeeze unsqueeze contiguous expand repeat sum mean max min argmax argmin abs neg exp log sqrt pow
        relu sigmoid tanh softmax log_softmax matmul mm bmm add sub mul div add_ sub_ mul_ div_ pow_ neg_ clamp_ copy_ fill_
        zero_ clamp where masked_fill masked_select gather scatter split chunk unbind narrow index_select flip roll var std
        norm prod amax amin logsumexp cumsum sort topk any all eq ne lt le gt ge maximum minimum floor ceil round sign sin
        cos isnan isinf element_size stride data_ptr new_zeros type_as view_as expand_as""",
    ),
    "`nn.functional`": (
        "torch.nn.functional",
        F,
        """
        conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear max_pool1d max_pool2d max_pool3d
        avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
        adaptive_max_pool2d adaptive_max_pool3d max_unpool1d max_unpool2d max_unpool3d lp_pool1d lp_pool2d batch_norm
        layer_norm group_norm instance_norm rms_norm local_response_norm normalize relu leaky_relu relu6 hardtanh hardswish
        hardsigmoid prelu elu selu celu mish silu gelu sigmoid tanh softplus softsign logsigmoid hardshrink softshrink
        tanhshrink threshold glu softmin softmax log_softmax dropout dropout1d dropout2d dropout3d alpha_dropout pad
        interpolate grid_sample affine_grid pixel_shuffle pixel_unshuffle channel_shuffle unfold fold one_hot embedding
        cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy
        binary_cross_entropy_with_logits kl_div gaussian_nll_loss poisson_nll_loss margin_ranking_loss triplet_margin_loss
        cosine_embedding_loss hinge_embedding_loss multi_margin_loss soft_margin_loss ctc_loss cosine_similarity
        pairwise_distance scaled_dot_product_attention""",
    ),
    "`nn`: layers and containers": (
        "torch.nn",
        nn,
        """
        Module Parameter Sequential ModuleList ModuleDict ParameterList ParameterDict Identity Flatten Unflatten Linear Conv1d
        Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d
        AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d
        BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm LayerNorm GroupNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d
        RMSNorm LocalResponseNorm Dropout Dropout1d Dropout2d Dropout3d AlphaDropout ReLU LeakyReLU ReLU6 Hardtanh Hardswish
        Hardsigmoid PReLU ELU SELU CELU Mish SiLU GELU Sigmoid Tanh Softplus Softsign LogSigmoid Threshold GLU Softmin Softmax
        LogSoftmax Upsample PixelShuffle PixelUnshuffle ChannelShuffle ZeroPad2d ConstantPad2d ReflectionPad2d
        ReplicationPad2d CircularPad2d Fold Unfold CrossEntropyLoss NLLLoss MSELoss L1Loss SmoothL1Loss HuberLoss BCELoss
        BCEWithLogitsLoss KLDivLoss TripletMarginLoss CTCLoss Embedding LSTM MultiheadAttention init functional utils""",
    ),
    "Methods of `nn.Module`": (
        "torch.nn.Module",
        nn.Module,
        """
        forward parameters named_parameters buffers named_buffers children named_children modules named_modules state_dict
        load_state_dict train eval zero_grad requires_grad_ apply to cpu cuda float double half bfloat16 register_parameter
        register_buffer register_module add_module get_submodule get_parameter register_forward_hook
        register_forward_pre_hook register_full_backward_hook extra_repr""",
    ),
    "`nn.init`": (
        "torch.nn.init",
        nn.init,
        """
        uniform_ normal_ constant_ zeros_ ones_ xavier_uniform_ xavier_normal_ kaiming_uniform_ kaiming_normal_
        trunc_normal_ orthogonal_ dirac_ eye_ calculate_gain""",
    ),
    "`optim`": (
        "torch.optim",
        optim,
        """
        Optimizer SGD Adam AdamW RMSprop Adagrad Adadelta Adamax NAdam RAdam LBFGS lr_scheduler""",
    ),
    "`optim.lr_scheduler`": (
        "torch.optim.lr_scheduler",
        optim.lr_scheduler,
        """
        LRScheduler StepLR MultiStepLR CosineAnnealingLR OneCycleLR LambdaLR MultiplicativeLR ConstantLR LinearLR ExponentialLR
        PolynomialLR CosineAnnealingWarmRestarts CyclicLR ReduceLROnPlateau ChainedScheduler SequentialLR""",
    ),
    "`data` (PyTorch: `torch.utils.data`)": (
        "torch.utils.data",
        data,
        """
        DataLoader Dataset IterableDataset TensorDataset Subset ConcatDataset random_split Sampler RandomSampler
        SequentialSampler WeightedRandomSampler BatchSampler default_collate""",
    ),
    "`models` (torchvision's)": (
        None,
        models,
        """
        alexnet vgg11 vgg13 vgg16 vgg19 resnet18 resnet34 resnet50 resnext50_32x4d wide_resnet50_2 mobilenet_v2
        mobilenet_v3_small mobilenet_v3_large efficientnet_b0 efficientnet_b1 efficientnet_b2 densenet121 squeezenet1_0
        squeezenet1_1 shufflenet_v2_x1_0 googlenet convnext_tiny""",
    ),
}

#: What PyTorch writes and what computes the same here. x, y: float tensors of N x C x H x W; p, q: of
#: probabilities; i: int64; v: matrix; w: 4-D weight.
INSTEAD = [
    ("torch.where(x > 0, x, y)", "(x > 0) * x + (x <= 0) * y"),
    ("torch.zeros_like(x)", "fc.zeros(x.shape, dtype=x.dtype)"),
    ("torch.ones_like(x)", "fc.ones(x.shape, dtype=x.dtype)"),
    ("torch.full_like(x, 2.5)", "fc.full(x.shape, 2.5, dtype=x.dtype)"),
    ("torch.linspace(0, 1, 5)", "fc.tensor(np.linspace(0, 1, 5, dtype=np.float32))"),
    ("torch.split(x, 2, dim=1)[1]", "x[:, 2:4]"),
    ("torch.chunk(x, 2, dim=1)[0]", "x[:, : x.shape[1] // 2]"),
    ("torch.unbind(x)[1]", "x[1]"),
    ("torch.narrow(x, 1, 1, 2)", "x[:, 1:3]"),
    ("torch.index_select(x, 1, i)", "x[:, i]"),
    ("torch.gather(v, 1, i[:, None])", "v[fc.arange(len(v))[:, None], i[:, None]]"),
    ("x.masked_fill(x > 0, 2.0)", "x * (x <= 0) + 2.0 * (x > 0)"),
    ("torch.masked_select(x, x > 0)", "x[x > 0]"),
    ("torch.flip(x, (3,))", "x[:, :, :, ::-1]"),
    ("torch.roll(x, 1, 3)", "fc.cat([x[..., -1:], x[..., :-1]], 3)"),
    ("torch.movedim(x, 1, 3)", "x.permute(0, 2, 3, 1)"),
    ("x.expand(2, *x.shape)", "fc.stack([x] * 2)"),
    ("x.repeat(1, 2, 1, 1)", "fc.cat([x] * 2, 1)"),
    (
        "torch.var(x, (0, 2, 3))",
        "((x - x.mean((0, 2, 3), keepdim=True)) ** 2).sum((0, 2, 3)) / (x.numel() // x.shape[1] - 1)",
    ),
    ("torch.norm(x)", "(x ** 2).sum().sqrt()"),
    ("torch.amax(x, (2, 3))", "x.max(dims=(2, 3))"),
    ("torch.amin(x, (2, 3))", "x.min(dims=(2, 3))"),
    ("torch.logsumexp(v, 1)", "v.max(1)[0] + (v - v.max(1, keepdim=True)[0]).exp().sum(1).log()"),
    ("torch.count_nonzero(x)", "(x != 0).sum()"),
    ("torch.any(x > 2)", "(x > 2).max()"),
    ("torch.all(x > -9)", "(x > -9).min()"),
    ("torch.outer(v[0], v[1])", "v[0][:, None] * v[1][None, :]"),
    ("torch.mm(v, v.T)", "v @ v.T"),
    ("torch.bmm(x[0], x[0])", "x[0] @ x[0]"),
    ("torch.reciprocal(p)", "1 / p"),
    ("torch.rsqrt(p)", "p ** -0.5"),
    ("torch.isnan(x)", "x != x"),
    ("F.relu6(x)", "F.relu(x) - F.relu(x - 6)"),
    ("F.hardtanh(x)", "F.relu(x + 1) - F.relu(x - 1) - 1"),
    ("F.hardsigmoid(x)", "(F.relu(x + 3) - F.relu(x - 3)) / 6"),
    ("F.hardswish(x)", "x * (F.relu(x + 3) - F.relu(x - 3)) / 6"),
    ("F.elu(x)", "F.relu(x) + (-F.relu(-x)).exp() - 1"),
    ("F.softplus(x)", "F.relu(x) + ((-abs(x)).exp() + 1).log()"),
    ("F.logsigmoid(x)", "-F.relu(-x) - ((-abs(x)).exp() + 1).log()"),
    ("F.softsign(x)", "x / (abs(x) + 1)"),
    ("F.tanhshrink(x)", "x - x.tanh()"),
    ("F.softmin(v, 1)", "F.softmax(-v, 1)"),
    ("F.glu(x, 1)", "x[:, : x.shape[1] // 2] * x[:, x.shape[1] // 2 :].sigmoid()"),
    ("F.instance_norm(x)", "F.group_norm(x, x.shape[1])"),
    ("F.normalize(v)", "v / (v ** 2).sum(1, keepdim=True).sqrt()"),
    ("F.adaptive_avg_pool3d(x[:, :, None], 1)", "x[:, :, None].mean((2, 3, 4), keepdim=True)"),
    ("F.adaptive_avg_pool1d(x[0], 1)", "x[0].mean(-1, keepdim=True)"),
    ("F.conv_transpose1d(x[:, :, 0], w[:, :, 0])", "F.conv_transpose2d(x[:, :, :1], w[:, :, :1]).squeeze(2)"),
    (
        "F.pixel_shuffle(x, 2)",
        "x.reshape(2, -1, 2, 2, 6, 6).permute(0, 1, 4, 2, 5, 3).reshape(2, -1, 12, 12)",
    ),
    ("F.l1_loss(x, y)", "abs(x - y).mean()"),
    ("F.binary_cross_entropy(p, q)", "-(q * p.log() + (1 - q) * (1 - p).log()).mean()"),
    ("F.kl_div(p.log(), q)", "(q * (q.log() - p.log())).mean()"),
]

#: What has no name of its own here, in words.
OTHERWISE = """
| PyTorch | here |
|---|---|
| `x.to(memory_format=torch.channels_last)` | not needed: 4-D arrays are channels-last in memory already |
| `model.half()`, `torch.autocast` | float32 and float64 only; `fc.set_float32_precision("medium")` on the GPU |
| `torch.compile(net)` | not needed; `fc.optimize_for_inference(net)` for evaluation |
| `DataLoader(num_workers=4)` | one thread prepares batches ahead of time; `transform=` works on whole batches |
| `torch.save(net, path)` (a pickled module) | `fc.save(net.state_dict(), path)`; `fc.load` reads PyTorch's state dicts |
| `.numpy()` of a tensor that needs a gradient | allowed (PyTorch asks for `.detach()` first) |
| `padding_mode=`, `device=`, `dtype=` of layers | pad with `F.pad`; call `.to(...)` after construction |
"""


def listed(place: str, there, names: str) -> tuple[list[str], list[str]]:
    """The names that ``there`` has, and those that it has not."""
    every = names.split()
    return [n for n in every if hasattr(there, n)], [n for n in every if not hasattr(there, n)]


def missing(expression: str) -> bool:
    """Whether what PyTorch writes calls a name that is not there."""
    head = expression.split("(")[0]
    owner, name = head.rsplit(".", 1)
    return not hasattr({"torch": fc, "F": F, "x": fc.Tensor, "v": fc.Tensor}[owner], name)


#: Arguments that are not listed as missing: deprecated ones, ways of running an optimizer, and device and
#: dtype of layers.
COMMON = {
    "self",
    "args",
    "kwargs",
    "reduce",
    "size_average",
    "device",
    "dtype",
    "foreach",
    "fused",
    "capturable",
    "differentiable",
    "generator",
}


def pytorchs(place: str):
    """The module or class of PyTorch that is called ``place``."""
    import torch

    there = torch
    for part in place.split(".")[1:]:
        there = getattr(there, part)
    return there


def missing_arguments(place: str, there, names: str) -> dict[str, list[str]]:
    """Name -> the parameters that PyTorch's has and fastconv's has not, where Python can tell."""
    found = {}
    for name in listed(place, there, names)[0]:
        try:
            theirs, ours = (inspect.signature(getattr(o, name)).parameters for o in (pytorchs(place), there))
        except (TypeError, ValueError):  # a module, a property, a function of C++
            continue
        if any(p.kind is p.VAR_KEYWORD for p in ours.values()):
            continue
        if less := [n for n in theirs if n not in ours and n not in COMMON and not n.startswith("_")]:
            found[name] = less
    return found


def page() -> str:
    """The text of the page."""
    lines = [
        "# Coming from PyTorch",
        "",
        "Names, arguments, defaults and results are PyTorch's where this page says that a name is there. An argument that is",
        "missing is refused by name, never ignored. NumPy arrays are accepted wherever a tensor is.",
        "",
        "This page is made by `python tools/pytorch_page.py` from the package itself; a test keeps it true.",
    ]
    for title, (place, there, names) in PLACES.items():
        has, has_not = listed(place, there, names)
        lines += ["", f"## {title}", "", f"Has: {', '.join(f'`{n}`' for n in has)}."]
        if has_not:
            lines += ["", f"Has not: {', '.join(f'`{n}`' for n in has_not)}."]
        if arguments := missing_arguments(place, there, names) if place else None:
            said = [f"`{n}({', '.join(a)})`" for n, a in arguments.items()]
            lines += ["", f"Arguments that are missing: {', '.join(said)}."]
    lines += ["", "## Write instead", "", "| PyTorch | here |", "|---|---|"]
    lines += [f"| `{theirs}` | `{ours}` |" for theirs, ours in INSTEAD if missing(theirs)]
    lines += ["", "## What differs", OTHERWISE.strip(), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
