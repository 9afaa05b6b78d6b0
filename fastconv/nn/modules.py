"""``nn.modules``: the classes of ``nn`` under the name of PyTorch's subpackage."""

# ruff: noqa: F401, F403
from .containers import ModuleDict, ModuleList, Sequential
from .layers import *
from .module import Module
from .parameter_containers import ParameterDict, ParameterList
