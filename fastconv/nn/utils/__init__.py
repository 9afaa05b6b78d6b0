"""``nn.utils``: functions that change the parameters and gradients of a net.

clip_grad.py             clip_grad_norm_, clip_grad_value_, get_total_norm
convert_parameters.py    parameters as one vector, and back
fusion.py                batch normalisation merged into the layer before it
weight_norm.py           weight_norm: the length and the direction of a weight as two parameters
"""

from .clip_grad import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from .convert_parameters import parameters_to_vector, vector_to_parameters
from .fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from .weight_norm import remove_weight_norm, weight_norm

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "fuse_conv_bn_eval",
    "fuse_linear_bn_eval",
    "get_total_norm",
    "parameters_to_vector",
    "remove_weight_norm",
    "vector_to_parameters",
    "weight_norm",
]
