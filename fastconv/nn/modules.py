"""``nn.modules``: PyTorch's other place for the names of ``nn``."""

# ruff: noqa: F401, F403
from .containers import ModuleDict, ModuleList, Sequential
from .layers import *
from .module import Module
from .parameter_containers import ParameterDict, ParameterList
