"""The values of a module's parameters and buffers: saved, loaded, moved to a device, cast to a dtype."""

# Users' arguments are checked at run time, although by the declared types some checks look unnecessary.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import devices
from ..checks import check, shape_str
from ..creation import as_tensor
from ..dtypes import FLOAT32, FLOAT64
from ..ops.convert import destination
from ..tensor import Tensor
from ..typing import DType
from .hooks import HookedModule, hooks_of
from .parameter import Parameter

if TYPE_CHECKING:
    from typing_extensions import Self


class IncompatibleKeys(NamedTuple):
    """The names that :meth:`Module.load_state_dict` skipped."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class ModuleState(HookedModule):
    """The part of :class:`Module` that handles the values of parameters and buffers."""

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: Any = "", keep_vars: Any = False
    ) -> dict[str, Any]:
        """Parameters and persistent buffers under their dotted names, which are the same as in PyTorch.

        The tensors share the module's memory.

        Parameters
        ----------
        destination : dict, optional
            The dict to which the tensors are added; a new dict by default.
        prefix : str
            Put in front of every name.
        keep_vars : bool
            Return the parameters themselves; by default, detached tensors.

        Returns
        -------
        dict
            ``destination``.
        """
        check(
            len(args) <= 3,
            "state_dict",
            f"expected destination, prefix and keep_vars at most, got {len(args)} arguments",
            TypeError,
        )
        destination, prefix, keep_vars = (*args, *(destination, prefix, keep_vars)[len(args) :])
        state: dict[str, Any] = {} if destination is None else destination
        table = self._hook_table
        for hook in list(table.state_dict_pre.values()) if table else ():
            hook(self, prefix, keep_vars)
        for name, t in (*self._parameters.items(), *self._buffers.items()):
            if t is not None and name not in self._transient:
                state[prefix + name] = t if keep_vars else t.detach()
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in list(table.state_dict.values()) if table else ():
            check(
                hook(self, state, prefix, {}) is None,
                "state_dict",
                "a post-hook changes the dict in place and must return None",
                RuntimeError,
            )
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy the values of ``state_dict`` into the parameters and buffers.

        Parameters
        ----------
        state_dict : mapping of name to Tensor, array or number
            If all names begin with ``module.``, which PyTorch's data-parallel training adds, it is removed.
        strict : bool
            Raise an error for missing and unexpected names. With False they are skipped and returned.
        assign : bool
            Replace the parameters and buffers by the tensors themselves, with their dtype and device. By
            default the values are converted to the module's dtype and device.

        Returns
        -------
        IncompatibleKeys
            The skipped names: ``missing_keys`` and ``unexpected_keys``. A missing ``num_batches_tracked`` of
            batch normalisation is not listed.

        Raises
        ------
        TypeError
            If ``state_dict`` is not a mapping.
        ValueError
            If names are missing or unexpected, or shapes differ. The message lists all of them, and nothing
            is copied. If there are post-hooks, names are checked only after them, when values are copied.
        """
        check(
            isinstance(state_dict, Mapping),
            "load_state_dict",
            f"expected a mapping of names to tensors, got {type(state_dict).__name__}",
            TypeError,
        )
        own, state = self._saved_tensors(), dict(state_dict)
        if not own.keys() & state.keys() and all(str(k).startswith("module.") for k in state):
            state = {k.removeprefix("module."): v for k, v in state.items()}
        keys, problems = IncompatibleKeys([], []), []
        tables = [
            (m, path, t) for path, m in self.named_modules(remove_duplicate=False) if (t := hooks_of(m))
        ]
        for module, path, table in tables:
            for hook in list(table.load_pre.values()):
                hook(module, state, f"{path}." if path else "", {}, strict, *keys, problems)
        # Files from the time before BatchNorm counted its batches have no num_batches_tracked.
        keys.missing_keys.extend([k for k in own if k not in state and not k.endswith("num_batches_tracked")])
        keys.unexpected_keys.extend([k for k in state if k not in own])
        problems += [
            f"its entry {k!r} holds these names: pass state[{k!r}]"
            for k, v in state.items()
            if isinstance(v, Mapping) and any(str(name).removeprefix("module.") in own for name in v)
        ]
        found = {k: v for k, v in state.items() if k in own}
        problems += [
            f"{k}: expected {shape_str(own[k].shape)}, got {shape_str(np.shape(v))}"
            for k, v in found.items()
            if np.shape(v) != own[k].shape
        ]
        # Post-hooks run after the values are loaded, and may remove names from the lists, so names are
        # checked after them. Without post-hooks, everything is checked before anything is loaded.
        later = [(m, hook) for m, _, table in tables for hook in table.load.values()]
        if not later:
            self._check_loaded(strict, keys, problems)
        self._check_loaded(False, keys, problems)
        for k, value in found.items():
            self._load_tensor(k, own[k], value, assign)
        for module, hook in later:
            hook(module, keys)
        self._check_loaded(strict, keys, problems)
        return keys

    def _check_loaded(self, strict: bool, keys: IncompatibleKeys, problems: list[str]) -> None:
        names = zip(("missing", "unexpected"), keys) if strict else ()
        lines = [*problems, *(f"{what}: {', '.join(map(str, found))}" for what, found in names if found)]
        check(
            not lines,
            "load_state_dict",
            f"the state does not fit this {type(self).__name__}:\n  " + "\n  ".join(lines),
        )

    def _load_tensor(self, key: str, t: Tensor, value: Any, assign: bool) -> None:
        if not assign:
            t.detach()[...] = as_tensor(value).detach().to(t.device).astype(t.dtype)
            return
        value = as_tensor(value)
        if isinstance(t, Parameter) and not isinstance(value, Parameter):
            value = Parameter(value, t.requires_grad)
        elif isinstance(t, Parameter):
            value.requires_grad_(t.requires_grad)
        path, _, name = key.rpartition(".")
        setattr(self.get_submodule(path), name, value)

    # ---- devices and types
    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move parameters and buffers to a device, cast the float ones to a dtype, or both.

        It is called as ``to(device)``, ``to(dtype)``, ``to(device, dtype)`` or ``to(tensor)``, or with
        keywords.

        Parameters
        ----------
        device : {"cpu", "cuda"}, optional
        dtype : float32 or float64, optional
            Integer buffers keep their type.
        tensor : Tensor, optional
            Use its device and dtype.
        non_blocking, memory_format
            Accepted, without effect.

        Raises
        ------
        TypeError
            If the dtype is not float32 or float64, the dtypes in which fastconv computes.

        Examples
        --------
        >>> nn.Linear(2, 3).to("cpu", "float64").weight.dtype
        dtype('float64')
        """
        device, dtype, *_ = destination("to", args, kwargs)
        check(
            dtype is None or dtype in (FLOAT32, FLOAT64),
            "to",
            f"modules compute in float32 and float64, got {dtype}",
            TypeError,
        )
        for t in (*self.parameters(), *self.buffers()):
            if device is not None:
                _replace(t, device)
            if dtype is not None and t.dtype.kind == "f":
                _replace(t, dtype)
        return self

    def cpu(self) -> Self:
        """Move parameters and buffers to host memory."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Self:
        """Move parameters and buffers to the GPU; ``device`` may be ``"cuda"`` or its number."""
        return self.to(devices.gpu("cuda", device))

    def float(self) -> Self:
        """Cast float parameters and buffers to float32."""
        return self.to(FLOAT32)

    def double(self) -> Self:
        """Cast float parameters and buffers to float64."""
        return self.to(FLOAT64)

    def type(self, dst_type: DType) -> Self:
        """Cast float parameters and buffers to ``dst_type``."""
        return self.to(dtype=dst_type)

    def half(self) -> Self:
        """Not supported, because fastconv computes in float32 and float64.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(_NARROW.format("half"))

    def bfloat16(self) -> Self:
        """Not supported; raises a TypeError as :meth:`half` does."""
        raise TypeError(_NARROW.format("bfloat16"))

    # ---- training
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set ``.grad`` of every parameter to None, or to zeros (``set_to_none=False``)."""
        for p in self.parameters():
            if set_to_none or p.grad is None:
                p.grad = None
            else:
                p.grad.detach().zero_()

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train the parameters (True) or freeze them (False)."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self


_NARROW = (
    "{}: fastconv computes in float32 and float64; leave the net in float32 (on a GPU "
    'fc.set_float32_precision("medium") makes its convolutions faster)'
)


def _replace(t: Tensor, target: Any) -> None:
    t.array = t.detach().to(target).array
    t.memory.version += 1
    t.grad = None if t.grad is None else t.grad.to(target)
