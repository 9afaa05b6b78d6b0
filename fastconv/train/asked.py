"""What a run is told by its caller, and how that compares with what its checkpoint was made with."""

from __future__ import annotations

import numpy as np

from .. import backends
from ..backends import settings
from ..checks import check
from ..tensor import Tensor

CURE = "give the same, another checkpoint=, or resume=False"
MOVED = {"lr", "momentum", "betas"}  # settings of a group that a schedule may have moved since the run began
# of a schedule; its base lrs stand in the groups too
POSITION = {"last_epoch", "_last_lr", "_step_count", "base_lrs"}


def describe(net, optimizer, loss, scheduler, loader, device) -> dict:
    """What a run is told by its caller, as names, numbers and strings."""
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


def of_checkpoint(saved: dict, new: dict) -> dict:
    """What the run of a checkpoint was told; of an older file what it does not say is as in ``new``."""
    if "asked" in saved:
        return saved["asked"]
    if saved["scheduler"] is None:
        return new | {"scheduler": None, "schedule": {}}
    return new | {"scheduler": new["scheduler"] or "a schedule", "schedule": _schedule(saved["scheduler"])}


def _engine(device) -> str:
    """What decides how results are rounded."""
    name, threads = "cuda" if device == "cuda" else backends.get_backend(), settings.get_num_threads()
    return (
        f"the cpu backend with {threads} thread{'s' * (threads > 1)}"
        if name == "cpu"
        else f"the {name} backend"
    )


def _schedule(state: dict) -> dict:
    return {k: _plain(v) for k, v in state.items()}


def _plain(value):
    """A setting as it comes back from a file."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        value = value.numpy() if isinstance(value, Tensor) else value
        return value.tolist()
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _loss(loss) -> dict:
    """Its name, and the settings of a module: numbers, words, weights of the classes."""
    kinds = (bool, int, float, str, Tensor, np.ndarray)
    found = {
        k: _plain(v)
        for k, v in getattr(loss, "__dict__", {}).items()
        if isinstance(v, kinds) and not k.startswith("_") and k != "training"
    }
    return {"name": getattr(loss, "__qualname__", type(loss).__name__), **found}


def _loader(loader) -> dict:
    """What decides which images a step sees; None: the loader does not say, or was not told."""
    dataset = getattr(loader, "dataset", None)
    images = len(dataset) if hasattr(dataset, "__len__") and not isinstance(dataset, (tuple, list)) else None
    found = {k: getattr(loader, k, None) for k in ("batch_size", "shuffle", "drop_last")}
    found |= {"images": getattr(loader, "n", images), "seed": None}
    if getattr(loader, "seed_given", False) and (loader.shuffle or loader.transform is not None):
        found["seed"] = loader.seed
    return {k: v if isinstance(v, int) else None for k, v in found.items()}


def refuse_if_different(path, old: dict, new: dict, saved: dict) -> None:
    """ValueError, with both values, where a run that asks for ``new`` cannot continue one that asked for
    ``old``."""

    def same(what, before, now):
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
    if (seed := new["loader"]["seed"]) is not None:  # nobody asked for one that was drawn
        before = old["loader"]["seed"]
        same("seed", "drawn at random" if before is None else before, seed)
    same("optimizer", old["optimizer"], new["optimizer"])
    same("parameters in its groups", old["parameters"], new["parameters"])
    same("loss", old["loss"]["name"], new["loss"]["name"])
    same("scheduler", old["scheduler"], new["scheduler"])
    for key, now in new["schedule"].items():
        # since the run began: it is the schedule that was saved
        moved = now == _plain(saved["scheduler"].get(key))
        if key in old["schedule"] and key not in POSITION and not moved:
            same(f"{key} of {new['scheduler']}", old["schedule"][key], now)


def _word(value):
    return "none" if value is None else value


def changed_settings(old: dict, new: dict, saved: dict) -> list[dict]:
    """For each parameter group of the optimizer the settings that are asked for now and were not before.

    A setting may have moved since the run began, by a schedule or by hand, so it is no change if it is as it
    was then, or as it was when the checkpoint was saved. An optimizer whose schedule stands elsewhere has
    moved settings as well.
    """
    found, places = (
        [],
        [s.get("last_epoch") for s in (old["schedule"], saved["scheduler"] or {}, new["schedule"])],
    )
    moved = MOVED if places[2] not in places[:2] else set()
    for before, now, then in zip(old["groups"], new["groups"], saved["optimizer"]["param_groups"]):
        keys = before.keys() & now.keys() - moved
        found.append({k: now[k] for k in keys if now[k] not in (before[k], _plain(then.get(k)))})
    return found


def merged(old: dict, new: dict, changes: list[dict]) -> dict:
    """What the checkpoints to come are to say: ``new``, with settings that only seem to differ as they were
    in ``old``."""
    groups = [now | before | change for before, now, change in zip(old["groups"], new["groups"], changes)]
    bases = {"base_lrs": new["schedule"]["base_lrs"]} if any("initial_lr" in c for c in changes) else {}
    return new | {"groups": groups, "schedule": old["schedule"] | bases}


def differences(old: dict, new: dict, changes: list[dict]) -> list[str]:
    """In words, what is not as it was."""
    found: list[str] = []
    for i, (before, change) in enumerate(zip(old["groups"], changes)):
        label = f" of group {i}" if len(changes) > 1 else ""
        for key in sorted(change):
            if key == "lr" and "initial_lr" in change:
                continue  # said as the first lr of the schedule
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
