"""Write docs/pytorch.md: which of PyTorch's names fastconv has, which it does not have, and what to write instead.

    python tools/pytorch_page.py

Needs PyTorch. The package shows whether a name is available; a comparison of both signatures shows which
arguments are not. ``tests/project/test_pytorch_page.py`` checks that the page is the output of this file, and
that every name in this file exists in PyTorch.
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
        tensor as_tensor from_numpy from_dlpack zeros ones full rand randn arange eye zeros_like ones_like
        full_like rand_like randn_like linspace empty randint randperm cat stack concat where clamp maximum
        minimum split chunk unbind narrow gather scatter scatter_add index_select index_add take_along_dim
        masked_fill masked_select flip roll movedim swapaxes permute transpose reshape flatten squeeze
        unsqueeze tril triu diagonal sum mean max min argmax argmin var std norm prod amax amin logsumexp
        cumsum cumprod sort topk any all count_nonzero einsum matmul bmm mm addmm outer add sub mul div pow
        abs neg exp log sqrt relu sigmoid tanh softmax log_softmax floor ceil round trunc sign sin cos log1p
        expm1 rsqrt reciprocal isnan isinf isfinite allclose no_grad enable_grad inference_mode
        set_grad_enabled is_grad_enabled manual_seed save load float16 bfloat16 float32 float64 uint8 int8
        int16 int32 int64 bool set_num_threads get_num_threads device compile autocast Generator Size
        adaptive_avg_pool1d addbmm addcdiv addcmul addmv addr aminmax argsort atleast_1d atleast_2d atleast_3d
        avg_pool1d baddbmm bernoulli bincount bitwise_and bitwise_not bitwise_or bitwise_xor broadcast_tensors
        broadcast_to bucketize channel_shuffle channels_last channels_last_3d clamp_max clamp_min clip clone
        column_stack concatenate contiguous_format conv1d conv2d conv3d conv_transpose1d conv_transpose2d
        conv_transpose3d cummax cummin diag diag_embed dot double dstack empty_like eq equal erf fill finfo
        fliplr flipud float floor_divide fmod ge get_default_dtype gt histc hstack iinfo index_copy index_fill
        index_put inf inner int is_floating_point is_inference_mode_enabled is_tensor isclose kron kthvalue le
        lerp log10 log2 logcumsumexp logical_and logical_not logical_or logical_xor logspace long lt
        masked_scatter max_pool1d max_pool2d max_pool3d median meshgrid moveaxis msort multinomial mv nan
        nanmean nanmedian nansum ne nonzero normal numel pi pixel_shuffle pixel_unshuffle preserve_format
        promote_types randint_like ravel remainder repeat_interleave rot90 scatter_reduce searchsorted select
        set_default_dtype short split_with_sizes square std_mean swapdims t take tensor_split tensordot tile
        trace tril_indices triu_indices true_divide unflatten unique unique_consecutive var_mean vdot vstack""",
    ),
    "Methods of `Tensor`": (
        "torch.Tensor",
        fc.Tensor,
        """
        shape dtype device ndim requires_grad grad data T numel size dim item tolist numpy detach clone to cpu
        cuda float double half long int bool backward requires_grad_ is_leaf grad_fn retain_grad register_hook
        reshape view flatten permute transpose t squeeze unsqueeze contiguous expand repeat sum mean max min
        argmax argmin abs neg exp log sqrt pow relu sigmoid tanh softmax log_softmax matmul mm bmm add sub mul
        div add_ sub_ mul_ div_ pow_ neg_ clamp_ copy_ fill_ zero_ clamp where masked_fill masked_select
        gather scatter split chunk unbind narrow index_select flip roll var std norm prod amax amin logsumexp
        cumsum sort topk any all eq ne lt le gt ge maximum minimum floor ceil round sign sin cos isnan isinf
        element_size stride data_ptr new_zeros type_as view_as expand_as abs_ addbmm addbmm_ addcdiv addcdiv_
        addcmul addcmul_ addmm addmm_ addmv addmv_ addr addr_ allclose aminmax argsort baddbmm baddbmm_
        bernoulli_ bfloat16 bincount bitwise_and bitwise_and_ bitwise_not bitwise_not_ bitwise_or bitwise_or_
        bitwise_xor bitwise_xor_ broadcast_to byte ceil_ char clamp_max clamp_max_ clamp_min clamp_min_ clip
        clip_ cos_ count_nonzero cummax cummin cumprod cumprod_ cumsum_ detach_ diag diag_embed diagonal dot
        eq_ equal erf erf_ exp_ expm1 expm1_ exponential_ fill_diagonal_ fliplr flipud floor_ floor_divide
        floor_divide_ fmod fmod_ ge_ gt_ histc index_add index_add_ index_copy index_copy_ index_fill
        index_fill_ index_put index_put_ inner is_complex is_contiguous is_cuda is_floating_point isclose
        isfinite itemsize kron kthvalue le_ lerp lerp_ log10 log10_ log1p log1p_ log2 log2_ log_ logcumsumexp
        logical_and logical_and_ logical_not logical_not_ logical_or logical_or_ logical_xor logical_xor_ lt_
        mT masked_fill_ masked_scatter masked_scatter_ median moveaxis movedim msort mv nanmean nanmedian
        nansum nbytes ne_ nelement new_empty new_full new_ones new_tensor nonzero normal_ outer random_ ravel
        reciprocal reciprocal_ register_post_accumulate_grad_hook relu_ remainder remainder_ repeat_interleave
        reshape_as retains_grad rot90 round_ rsqrt rsqrt_ scatter_ scatter_add scatter_add_ scatter_reduce
        scatter_reduce_ select short sigmoid_ sign_ sin_ split_with_sizes sqrt_ square square_ squeeze_
        storage_offset swapaxes swapaxes_ swapdims swapdims_ t_ take take_along_dim tanh_ tensor_split tile
        trace transpose_ tril tril_ triu triu_ true_divide true_divide_ trunc trunc_ type unflatten unfold
        uniform_ unique unique_consecutive unsqueeze_ vdot pin_memory is_pinned""",
    ),
    "`nn.functional`": (
        "torch.nn.functional",
        F,
        """
        conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear max_pool1d max_pool2d
        max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
        adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d max_unpool1d
        max_unpool2d max_unpool3d lp_pool1d lp_pool2d batch_norm layer_norm group_norm instance_norm rms_norm
        local_response_norm normalize relu leaky_relu relu6 hardtanh hardswish hardsigmoid prelu elu selu celu
        mish silu gelu sigmoid tanh softplus softsign logsigmoid hardshrink softshrink tanhshrink threshold
        glu softmin softmax log_softmax dropout dropout1d dropout2d dropout3d alpha_dropout pad interpolate
        grid_sample affine_grid pixel_shuffle pixel_unshuffle channel_shuffle unfold fold one_hot embedding
        cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy
        binary_cross_entropy_with_logits kl_div gaussian_nll_loss poisson_nll_loss margin_ranking_loss
        triplet_margin_loss cosine_embedding_loss hinge_embedding_loss multi_margin_loss soft_margin_loss
        ctc_loss cosine_similarity pairwise_distance scaled_dot_product_attention bilinear
        feature_alpha_dropout lp_pool3d multilabel_margin_loss multilabel_soft_margin_loss rrelu
        triplet_margin_with_distance_loss upsample upsample_bilinear upsample_nearest""",
    ),
    "`nn`: layers and containers": (
        "torch.nn",
        nn,
        """
        Module Parameter Sequential ModuleList ModuleDict ParameterList ParameterDict Identity Flatten
        Unflatten Linear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d MaxPool1d
        MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d
        AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d BatchNorm1d BatchNorm2d
        BatchNorm3d SyncBatchNorm LayerNorm GroupNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d RMSNorm
        LocalResponseNorm Dropout Dropout1d Dropout2d Dropout3d AlphaDropout ReLU LeakyReLU ReLU6 Hardtanh
        Hardswish Hardsigmoid PReLU ELU SELU CELU Mish SiLU GELU Sigmoid Tanh Softplus Softsign LogSigmoid
        Threshold GLU Softmin Softmax LogSoftmax Upsample PixelShuffle PixelUnshuffle ChannelShuffle ZeroPad2d
        ConstantPad2d ReflectionPad2d ReplicationPad2d CircularPad2d Fold Unfold CrossEntropyLoss NLLLoss
        MSELoss L1Loss SmoothL1Loss HuberLoss BCELoss BCEWithLogitsLoss KLDivLoss TripletMarginLoss CTCLoss
        Embedding LSTM MultiheadAttention init functional utils Bilinear Buffer CircularPad1d CircularPad3d
        ConstantPad1d ConstantPad3d CosineEmbeddingLoss CosineSimilarity FeatureAlphaDropout GaussianNLLLoss
        Hardshrink HingeEmbeddingLoss LPPool1d LPPool2d LPPool3d MarginRankingLoss MaxUnpool1d MaxUnpool2d
        MaxUnpool3d MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss PairwiseDistance
        PoissonNLLLoss RReLU ReflectionPad1d ReflectionPad3d ReplicationPad1d ReplicationPad3d SoftMarginLoss
        Softmax2d Softshrink Tanhshrink TripletMarginWithDistanceLoss UpsamplingBilinear2d UpsamplingNearest2d
        ZeroPad1d ZeroPad3d""",
    ),
    "Methods of `nn.Module`": (
        "torch.nn.Module",
        nn.Module,
        """
        forward parameters named_parameters buffers named_buffers children named_children modules
        named_modules state_dict load_state_dict train eval zero_grad requires_grad_ apply to cpu cuda float
        double half bfloat16 register_parameter register_buffer register_module add_module get_submodule
        get_parameter register_forward_hook register_forward_pre_hook register_full_backward_hook extra_repr
        get_buffer register_full_backward_pre_hook register_load_state_dict_post_hook
        register_load_state_dict_pre_hook register_state_dict_post_hook register_state_dict_pre_hook
        set_submodule type""",
    ),
    "`nn.utils`": (
        "torch.nn.utils",
        nn.utils,
        """
        clip_grad_norm_ clip_grad_value_ get_total_norm parameters_to_vector vector_to_parameters fuse_conv_bn_eval""",
    ),
    "`autograd`": (
        "torch.autograd",
        fc.autograd,
        """
        Function grad backward gradcheck no_grad enable_grad set_grad_enabled""",
    ),
    "`cuda`": (
        "torch.cuda",
        fc.cuda,
        """
        is_available device_count current_device set_device get_device_name get_device_capability get_device_properties
        init is_initialized synchronize current_stream Stream Event memory_allocated max_memory_allocated memory_reserved
        reset_peak_memory_stats memory_stats empty_cache manual_seed manual_seed_all nvtx device stream default_stream
        mem_get_info memory_summary CUDAGraph graph""",
    ),
    "`cuda.nvtx`": (
        "torch.cuda.nvtx",
        fc.cuda.nvtx,
        """
        range_push range_pop range mark range_start range_end""",
    ),
    "`nn.init`": (
        "torch.nn.init",
        nn.init,
        """
        uniform_ normal_ constant_ zeros_ ones_ xavier_uniform_ xavier_normal_ kaiming_uniform_
        kaiming_normal_ trunc_normal_ orthogonal_ dirac_ eye_ calculate_gain sparse_""",
    ),
    "`optim`": (
        "torch.optim",
        optim,
        """
        Optimizer SGD Adam AdamW RMSprop Adagrad Adadelta Adamax NAdam RAdam LBFGS lr_scheduler ASGD Rprop""",
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
        DataLoader Dataset IterableDataset TensorDataset Subset ConcatDataset random_split Sampler
        RandomSampler SequentialSampler WeightedRandomSampler BatchSampler default_collate ChainDataset
        StackDataset SubsetRandomSampler default_convert get_worker_info DistributedSampler""",
    ),
    "`nn.parallel`": (
        "torch.nn.parallel",
        nn.parallel,
        """
        DistributedDataParallel DataParallel""",
    ),
    "`distributed`": (
        "torch.distributed",
        fc.distributed,
        """
        all_reduce broadcast all_gather barrier all_gather_object is_initialized ReduceOp reduce gather scatter
        reduce_scatter send recv all_to_all new_group""",
    ),
    "`data.transforms` (torchvision's)": (
        None,
        data.transforms,
        """
        Compose ToTensor PILToTensor ToPILImage ConvertImageDtype Normalize Pad CenterCrop RandomCrop RandomResizedCrop
        Resize RandomHorizontalFlip RandomVerticalFlip ColorJitter Grayscale RandomGrayscale RandomRotation RandomAffine
        GaussianBlur RandomErasing RandomApply RandomChoice RandomOrder Lambda FiveCrop TenCrop MixUp CutMix""",
    ),
    "`models` (torchvision's)": (
        None,
        models,
        """
        alexnet vgg11 vgg13 vgg16 vgg19 resnet18 resnet34 resnet50 resnext50_32x4d wide_resnet50_2 mobilenet_v2
        mobilenet_v3_small mobilenet_v3_large efficientnet_b0 efficientnet_b1 efficientnet_b2 densenet121 squeezenet1_0
        squeezenet1_1 shufflenet_v2_x1_0 googlenet convnext_tiny resnet101 resnet152 densenet161 densenet169 densenet201
        convnext_small convnext_base resnext101_32x8d wide_resnet101_2""",
    ),
}

#: What to write for names of PyTorch that fastconv does not have, or that differ.
OTHERWISE = """
| PyTorch | here |
|---|---|
| `x.to(memory_format=torch.channels_last)` | accepted, and not needed: 4-D arrays are channels-last in memory already |
| `model.half()`, `torch.autocast` | float32 and float64 only; `fc.set_float32_precision("medium")` on the GPU |
| `torch.compile(net)` | `fc.compile(net.eval())`; `fc.compile(step, net, optimizer)` for a training step |
| `DataLoader(num_workers=4)` | four threads instead of processes; the batches are the same with any number |
| `torch.save(net, path)` (a pickled module) | `fc.save(net.state_dict(), "net.pt")`, a file that `torch.load` reads too |
| `torchrun --nproc-per-node 4 train_resnet18.py` | `mpiexec -n 4 python train_resnet18.py` ([distributed.md](distributed.md)) |
| `dist.init_process_group("gloo")`, `get_rank()`, `get_world_size()` | `fc.distributed.init()`, `rank()`, `world_size()` |
| `dist.broadcast_object_list(values, src)` | `value = fc.distributed.broadcast_object(value, src)` |
| `loss.backward(create_graph=True)` | refused: derivatives of derivatives are not computed |
| `.numpy()` of a tensor that needs a gradient | allowed (PyTorch asks for `.detach()` first) |
| `torch.manual_seed(0); torch.randn(3)` | other random numbers: the generator is NumPy's |
| `import torchvision.transforms`, `torchvision.models` | `fastconv.data.transforms`, `fastconv.models` |
"""


def listed(place: str, there, names: str) -> tuple[list[str], list[str]]:
    """The names that ``there`` has, and those that it does not have."""
    every = names.split()
    return [n for n in every if hasattr(there, n)], [n for n in every if not hasattr(there, n)]


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
    """The module or class of PyTorch with the name ``place``."""
    import torch

    there = torch
    for part in place.split(".")[1:]:
        there = getattr(there, part)
    return there


def missing_arguments(place: str, there, names: str) -> dict[str, list[str]]:
    """Name -> the parameters that only PyTorch's function has, if Python knows both signatures."""
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
        "This page lists names of PyTorch. A name that is available has PyTorch's arguments, defaults and results. An argument",
        "that is not available raises an error that names it; it is never ignored. NumPy arrays are accepted wherever tensors",
        "are.",
        "",
        "`python tools/pytorch_page.py` generates this page from the package, and a test checks that the page is up to date.",
    ]
    for title, (place, there, names) in PLACES.items():
        has, has_not = listed(place, there, names)
        lines += ["", f"## {title}", "", f"Available: {', '.join(f'`{n}`' for n in has)}."]
        if has_not:
            lines += ["", f"Not available: {', '.join(f'`{n}`' for n in has_not)}."]
        if arguments := missing_arguments(place, there, names) if place else None:
            said = [f"`{n}({', '.join(a)})`" for n, a in arguments.items()]
            lines += ["", f"Arguments that are not available: {', '.join(said)}."]
    lines += ["", "## What differs", OTHERWISE.strip(), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
