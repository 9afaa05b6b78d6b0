"""The settings of a run, and how they compare with those of the run that wrote the checkpoint."""

# Settings are of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import backends
from ..backends import settings
from ..checks import check
from ..data.distributed import divides
from ..tensor import Tensor

CURE = "give the same, another checkpoint=, or resume=False"
MOVED = {"lr", "momentum", "betas"}  # settings of a group that a schedule may change during a run
# The state of a schedule that changes during a run. Its base lrs are in the optimizer's groups too.
POSITION = {
    *("last_epoch", "_last_lr", "_step_count", "base_lrs", "T_cur", "T_i", "_schedulers"),
    *("best", "num_bad_epochs", "cooldown_counter"),
}


def describe(net: Any, optimizer: Any, loss: Any, scheduler: Any, loader: Any, device: str) -> dict[str, Any]:
    """What the caller of a run has given, as names, numbers and strings."""
    return {
        "net": {name: f"{type(m).__name__}({m.extra_repr()})" for name, m in net.named_modules()},
        "optimizer": type(optimizer).__name__,
        "parameters": [len(g["params"]) for g in optimizer.param_groups],
        "groups": [{k: _plain(v) for k, v in g.items() if k != "params"} for g in optimizer.param_groups],
        "loss": _loss(loss),
        "scheduler": None if scheduler is None else type(scheduler).__name__,
        "schedule": {}
        if scheduler is None
        else {"interval": scheduler.interval, **_schedule(scheduler.state_dict())},
        "loader": _loader(loader),
        "engine": _engine(device),
    }


def of_checkpoint(saved: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The settings of the run that wrote ``saved``; those that an older file lacks are taken from ``new``."""
    if "asked" in saved:
        return saved["asked"]
    if saved["scheduler"] is None:
        return new | {"scheduler": None, "schedule": {}}
    return new | {"scheduler": new["scheduler"] or "a schedule", "schedule": _schedule(saved["scheduler"])}


def _engine(device: str) -> str:
    """The engine and its threads, because they decide how sums are rounded."""
    name, threads = "cuda" if device == "cuda" else backends.get_backend(), settings.get_num_threads()
    return (
        f"the cpu backend with {threads} thread{'s' * (threads > 1)}"
        if name == "cpu"
        else f"the {name} backend"
    )


def _schedule(state: dict[str, Any]) -> dict[str, Any]:
    return {k: _plain(v) for k, v in state.items()}


def _plain(value: Any) -> Any:
    """A setting in the form in which a file returns it."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        value = value.numpy() if isinstance(value, Tensor) else value
        return value.tolist()
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _loss(loss: Any) -> dict[str, Any]:
    """The name of a loss, and if it is a module its settings: numbers, words, weights of the classes."""
    kinds = (bool, int, float, str, Tensor, np.ndarray)
    found = {
        k: _plain(v)
        for k, v in getattr(loss, "__dict__", {}).items()
        if isinstance(v, kinds) and not k.startswith("_") and k != "training"
    }
    return {"name": getattr(loss, "__qualname__", type(loss).__name__), **found}


def _loader(loader: Any) -> dict[str, int | None]:
    """The settings that decide which images a step sees; None where the loader does not have them."""
    dataset = getattr(loader, "dataset", ())
    images = len(dataset) if hasattr(dataset, "__len__") and not isinstance(dataset, (tuple, list)) else None
    found = {k: getattr(loader, k, None) for k in ("batch_size", "shuffle", "drop_last")}
    found |= {"images": getattr(loader, "n", images), "seed": None}
    if getattr(loader, "seed_given", False) and loader.draws:
        found["seed"] = loader.seed
    if (divided := divides(loader)) is not None:  # the same as one process with the batches of all ranks
        found |= {"shuffle": divided.shuffle, "seed": divided.seed if divided.shuffle else found["seed"]}
        if found["batch_size"] is not None:
            found["batch_size"] *= divided.num_replicas
    return {k: v if isinstance(v, int) else None for k, v in found.items()}


def refuse_if_different(path: Path, old: dict[str, Any], new: dict[str, Any], saved: dict[str, Any]) -> None:
    """ValueError, with both values, if a run with the settings ``new`` cannot continue one with ``old``."""

    def same(what: str, before: Any, now: Any) -> None:
        check(
            before == now, "fit", f"{path} was trained with {what} {_word(before)}, now {_word(now)}; {CURE}"
        )

    for name in {**old["net"], **new["net"]}:
        kinds = [description["net"].get(name, "nothing").partition("(")[0] for description in (old, new)]
        check(
            kinds[0] == kinds[1],
            "fit",
            f"{path} is a checkpoint of another net: {name or 'the net'} was {kinds[0]}, "
            f"now {kinds[1]}; {CURE}",
        )
    for key in ("batch_size", "images", "drop_last", "shuffle"):
        same({"images": "a data set of length"}.get(key, key), old["loader"][key], new["loader"][key])
    if (seed := new["loader"]["seed"]) is not None:  # None: the caller gave no seed, so any will do
        before = old["loader"]["seed"]
        same("seed", "drawn at random" if before is None else before, seed)
    same("optimizer", old["optimizer"], new["optimizer"])
    same("parameters in its groups", old["parameters"], new["parameters"])
    same("loss", old["loss"]["name"], new["loss"]["name"])
    same("scheduler", old["scheduler"], new["scheduler"])
    for key, now in new["schedule"].items():
        # a setting that changed since the run began, and is now as it was saved
        moved = now == _plain(saved["scheduler"].get(key))
        if key in old["schedule"] and key not in POSITION and not moved:
            same(f"{key} of {new['scheduler']}", old["schedule"][key], now)


def _word(value: Any) -> Any:
    return "none" if value is None else value


def changed_settings(old: dict[str, Any], new: dict[str, Any], saved: dict[str, Any]) -> list[dict[str, Any]]:
    """For each parameter group of the optimizer: the settings that the caller has changed.

    A schedule, or the user, may have changed a setting during the run. So a setting counts as unchanged if it
    is as it was when the run began, or as it was when the checkpoint was saved. If the new schedule is at
    another place than both, the settings that a schedule changes are not compared.
    """
    found: list[dict[str, Any]] = []
    places = [s.get("last_epoch") for s in (old["schedule"], saved["scheduler"] or {}, new["schedule"])]
    moved = MOVED if places[2] not in places[:2] else set()
    for before, now, then in zip(old["groups"], new["groups"], saved["optimizer"]["param_groups"]):
        keys = before.keys() & now.keys() - moved
        found.append({k: now[k] for k in keys if now[k] not in (before[k], _plain(then.get(k)))})
    return found


def merged(old: dict[str, Any], new: dict[str, Any], changes: list[dict[str, Any]]) -> dict[str, Any]:
    """The settings for the next checkpoints: ``new``, but those of ``old`` where nothing was changed."""
    groups = [now | before | change for before, now, change in zip(old["groups"], new["groups"], changes)]
    bases = {"base_lrs": new["schedule"]["base_lrs"]} if any("initial_lr" in c for c in changes) else {}
    return new | {"groups": groups, "schedule": old["schedule"] | bases}


def differences(old: dict[str, Any], new: dict[str, Any], changes: list[dict[str, Any]]) -> list[str]:
    """In words, what differs between the run of the checkpoint and this one."""
    found: list[str] = []
    for i, (before, change) in enumerate(zip(old["groups"], changes)):
        label = f" of group {i}" if len(changes) > 1 else ""
        for key in sorted(change):
            if key == "lr" and "initial_lr" in change:
                continue  # reported as the first lr of the schedule
            name = {"initial_lr": "first lr"}.get(key, key) + label
            found.append(f"{name} {before[key]}, now {change[key]}")
    for key in sorted(old["loss"].keys() | new["loss"].keys()):
        before, now = old["loss"].get(key), new["loss"].get(key)
        found += [f"{key} of the loss {before}, now {now}"] * (before != now)
    for name, now in new["net"].items():
        before = old["net"].get(name)
        found += [f"{name or 'the net'} {before}, now {now}"] * (before != now)
    if old["engine"] != new["engine"]:
        found.append(f"computed by {old['engine']}, now by {new['engine']}, so sums are rounded differently")
    return found
