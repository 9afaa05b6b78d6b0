"""The command ``fastconv`` (also ``python -m fastconv``): doctor, warmup, cache, summary, train, bench."""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import warnings
from difflib import get_close_matches
from importlib import metadata
from math import inf
from pathlib import Path
from time import localtime, perf_counter, strftime

from . import backends, cuda, data, inspect, io, models, nn, optim, random, train
from ._version import __version__
from .backends import compiling, disk, settings
from .checks import check

BENCH = Path(__file__).resolve().parents[1] / "bench"
EXTRAS = ("tqdm", "pooch", "matplotlib")
#: What the library calls in its messages by the name of a keyword, and its option here.
OPTIONS = {
    "resume=False": "--no-resume",
    "checkpoint=": "--out",
    "root=": "--data",
    "download=False": "--no-download",
    "download=True": "without --no-download",
    "batch_size": "--batch-size",
    "weight_decay": "--weight-decay",
    "label_smoothing of the loss": "--label-smoothing",
    "total_steps of OneCycleLR": "steps (--epochs)",
    "T_max of CosineAnnealingLR": "steps (--epochs)",
    "scheduler OneCycleLR": "--schedule one-cycle",
    "scheduler CosineAnnealingLR": "--schedule cosine",
    "now OneCycleLR": "now one-cycle",
    "now CosineAnnealingLR": "now cosine",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 on a user's error (one line on stderr), 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["bench"]:  # its options are bench/compare.py's: see fastconv bench --help
        return _bench(argv[1:])
    args = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(
                f"fastconv: warning: {_as_options(message)}", file=sys.stderr
            )
            return args.run(args)
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as e:
        if args.traceback:
            raise
        print(f"fastconv: error: {_as_options(e)}", file=sys.stderr)
        return 2


def _as_options(message) -> str:
    """A message of the library in the words of the command line."""
    return re.sub("|".join(map(re.escape, OPTIONS)), lambda found: OPTIONS[found[0]], str(message))


def _bench(options: list[str]) -> int:
    """Run ``bench/compare.py`` of the checkout that this package lies in."""
    script = BENCH / "compare.py"
    if not script.exists():
        print(
            "fastconv: error: bench: the benchmarks are not part of the installed package; they need a clone of the "
            "repository, installed from there with pip install -e . (bench/README.md in it says how to go on)",
            file=sys.stderr,
        )
        return 2
    return subprocess.call([sys.executable, str(script), *options])


# ------------------------------------------------------------------------------------------------- options
class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says the default of an option that has one to say and does not do so in its own words."""

    def _get_help_string(self, action):
        own = action.default is None or action.default is False or "default" in action.help
        return action.help if own else super()._get_help_string(action)


def _value(kind, expected: str, ok):
    """An option's type: ``kind`` of its text where that is ``ok``, else an error that says what was
    ``expected``."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not ok(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return parse


AT_LEAST_0 = _value(int, "a whole number of at least 0", lambda n: n >= 0)
AT_LEAST_1 = _value(int, "a whole number of at least 1", lambda n: n >= 1)
NOT_NEGATIVE = _value(float, "a number of at least 0", lambda x: 0 <= x < inf)
POSITIVE = _value(float, "a number above 0", lambda x: 0 < x < inf)
BELOW_1 = _value(float, "a number of at least 0 and below 1", lambda x: 0 <= x < 1)


def _model(name: str) -> str:
    """The name of a function of :mod:`fastconv.models`."""
    known = sorted(n for n in models.__all__ if n.islower())
    if name == "lenet":  # as fastconv train says
        return "lenet5"
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise argparse.ArgumentTypeError(
            f"there is no model {name!r}; {hint}Known are lenet, {', '.join(known)}"
        )
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastconv", description="Train and run convolutional networks.")
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(where, name, run, text):
        p = where.add_parser(name, help=text, description=text, formatter_class=_Help)
        p.add_argument("--traceback", action="store_true", help="show where an error came from")
        p.set_defaults(run=run)
        return p

    command(commands, "doctor", doctor, "show versions, processor, threads, kernel cache and GPU")
    command(commands, "warmup", warmup, "compile every kernel of the cpu backend now")
    text = "show or remove what fastconv keeps on disk: compiled kernels, what was measured"
    actions = commands.add_parser("cache", help=text, description=text).add_subparsers(
        required=True, metavar="ACTION"
    )
    command(actions, "info", cache_info, "show the folder, and what each version's kernels take")
    command(
        actions,
        "clear",
        cache_clear,
        "remove compiled kernels and measurements of every version (data sets stay)",
    )
    count = command(
        commands,
        "summary",
        summarise,
        "print a network's shapes, parameters, multiply-adds and receptive fields",
    )
    names = ", ".join(["lenet", *(name for name in models.__all__ if name.islower())])
    count.add_argument("model", type=_model, metavar="MODEL", help=f"one of {names}")
    count.add_argument(
        "--input",
        metavar="NxCxHxW",
        help="default: what the model is for: 1x3x224x224, for LeNet 1x1x28x28, with --small-input 1x3x32x32",
    )
    count.add_argument("--classes", metavar="N", type=AT_LEAST_1, help="default: the model's own")
    count.add_argument("--small-input", action="store_true", help="ResNet for images of about 32x32")
    commands.add_parser(
        "bench", help="compare speed with PyTorch and others (in a clone of the repository)", add_help=False
    )
    nets = commands.add_parser("train", help="train a network").add_subparsers(
        required=True, metavar="NETWORK"
    )
    lenet = command(
        nets,
        "lenet",
        train_lenet,
        "train LeNet on Fashion-MNIST: with ReLU, max pooling, momentum and a "
        "one-cycle schedule, or as the course notes do",
    )
    option = lenet.add_argument
    option(
        "--classic", action="store_true", help="the notes' recipe: sigmoid, average pooling, SGD with lr 0.9"
    )
    option(
        "--epochs",
        metavar="N",
        type=AT_LEAST_0,
        help="default: 10 on the full set, 100 (as many steps) on the set in the package",
    )
    option("--batch-size", metavar="N", type=AT_LEAST_1, default=256, help="images per step")
    option("--lr", type=POSITIVE, help="learning rate (default: 0.1 at its peak; with --classic 0.9)")
    _training_options(lenet, "default: runs/lenet, with --classic runs/lenet-classic")
    resnet = command(nets, "resnet18", train_resnet18, "train ResNet-18 on Fashion-MNIST or CIFAR-10")
    option = resnet.add_argument
    option("--dataset", choices=IMAGES, default="fashion-mnist", help="which images")
    option(
        "--epochs",
        metavar="N",
        type=AT_LEAST_0,
        help="default: 2 on Fashion-MNIST (20, as many steps, on the set in the package), 15 on CIFAR-10",
    )
    option("--batch-size", metavar="N", type=AT_LEAST_1, default=64, help="images per step")
    option("--lr", type=POSITIVE, default=0.1, help="highest learning rate")
    option(
        "--schedule", choices=("one-cycle", "cosine"), default="one-cycle", help="how the learning rate moves"
    )
    option(
        "--weight-decay",
        metavar="X",
        type=NOT_NEGATIVE,
        default=5e-4,
        help="this times a weight is added to its gradient",
    )
    option(
        "--label-smoothing",
        metavar="X",
        type=BELOW_1,
        default=0.1,
        help="share of a label spread over all classes",
    )
    option(
        "--pad-crop",
        metavar="PIXELS",
        type=AT_LEAST_0,
        help="shift images at random by up to so many pixels "
        "(default: 4 on CIFAR-10, else 0; with 2, Fashion-MNIST needs more epochs)",
    )
    option("--no-flip", action="store_true", help="do not mirror images at random")
    option(
        "--cutout",
        metavar="PIXELS",
        type=AT_LEAST_0,
        default=0,
        help="blank a random square of this side; 0: none",
    )
    option(
        "--checkpoint-every",
        metavar="STEPS",
        type=AT_LEAST_1,
        default=200,
        help="steps between two checkpoints",
    )
    _training_options(resnet, "default: runs/resnet18")
    return parser


def _training_options(parser, out) -> None:
    option = parser.add_argument
    option(
        "--data",
        metavar="DIR",
        help="folder that holds the files of the data set (default: the usual folders are "
        "searched, else they are downloaded)",
    )
    option("--backend", choices=backends.BACKENDS, help="engine (default: FASTCONV_BACKEND, else cpu)")
    option("--threads", metavar="N", type=AT_LEAST_1, help="threads per kernel (default: every processor)")
    option("--seed", metavar="N", type=AT_LEAST_0, default=0, help="of weights, order and augmentation")
    option("--out", metavar="DIR", help=f"folder of pictures, history, weights and checkpoint ({out})")
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--resume",
        dest="resume",
        action="store_const",
        const=True,
        help="continue from the checkpoint in --out (default: if there is one)",
    )
    either.add_argument(
        "--no-resume",
        dest="resume",
        action="store_const",
        const=False,
        help="start anew; what is in --out is overwritten",
    )
    option(
        "--time-limit",
        metavar="SECONDS",
        type=POSITIVE,
        help="end training after this time, with a checkpoint",
    )
    option("--no-download", action="store_true", help="use what is on this machine")
    option("--quiet", action="store_true", help="show no progress")


# ------------------------------------------------------------------------------------------------- train
#: Channels, mean and standard deviation of the training images, shift of pad-crop, epochs.
IMAGES = {
    "fashion-mnist": (1, 0.2860, 0.3530, 0, 2),
    "cifar10": (3, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 4, 15),
}


def train_lenet(args) -> int:
    """Train LeNet; write pictures, history, weights and the checkpoint ``lenet.npz`` to ``args.out``."""
    _prepare(args)
    *sets, epochs = _fashion_mnist(args, 10)
    loaders = _loaders(args, sets)
    net = _placed(models.lenet5(modern=not args.classic))
    if args.classic:
        optimizer, scheduler = optim.SGD(net.parameters(), lr=args.lr or 0.9), None
    else:
        lr = args.lr or 0.1
        optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        scheduler = optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(epochs, 1) * len(loaders[0]))
    args.out = args.out or ("runs/lenet-classic" if args.classic else "runs/lenet")
    return _train(args, "lenet", net, loaders, epochs=epochs, optimizer=optimizer, scheduler=scheduler)


def train_resnet18(args) -> int:
    """Train ResNet-18; write pictures, history, weights and the checkpoint ``resnet18.npz`` to
    ``args.out``."""
    _prepare(args)
    channels, mean, std, shift, epochs = IMAGES[args.dataset]
    if args.dataset == "cifar10":
        _check_folder(args, data.CIFAR10)
        sets = [data.CIFAR10(args.data, train, not args.no_download) for train in (True, False)]
        epochs = epochs if args.epochs is None else args.epochs
    else:
        *sets, epochs = _fashion_mnist(args, epochs)
    normalize, t = data.transforms.normalize(mean, std), data.transforms
    shift = shift if args.pad_crop is None else args.pad_crop
    augment = [t.pad_crop(shift)] if shift else []
    augment += [] if args.no_flip else [t.horizontal_flip()]
    # 0 after normalize: the mean grey
    augment += [normalize] + ([t.cutout(args.cutout)] if args.cutout else [])
    loaders = _loaders(args, sets, t.compose(*augment), normalize)
    net = _placed(models.resnet18(num_classes=10, in_channels=channels, small_input=True))
    optimizer = optim.SGD(
        net.parameters(), args.lr, momentum=0.9, weight_decay=args.weight_decay, nesterov=True
    )
    steps = max(epochs, 1) * len(loaders[0])
    if args.schedule == "cosine":
        scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        scheduler.interval = "step"
    else:
        scheduler = optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps)
    args.out = args.out or "runs/resnet18"
    return _train(
        args,
        "resnet18",
        net,
        loaders,
        epochs=epochs,
        optimizer=optimizer,
        scheduler=scheduler,
        loss=nn.CrossEntropyLoss(label_smoothing=args.label_smoothing),
        checkpoint_every=args.checkpoint_every,
    )


def _prepare(args) -> None:
    if args.threads is not None:
        settings.set_num_threads(args.threads)
    if args.backend is not None:
        backends.set_backend(args.backend)
    random.manual_seed(args.seed)


def _check_folder(args, kind) -> None:
    """A folder that was named is not passed over for another place."""
    if args.data in IMAGES and not Path(args.data).exists():
        raise ValueError(
            f"--data is the folder that holds the images; which images they are says --dataset {args.data}"
        )
    for part in (True, False) if args.data else ():
        kind.find(args.data, part)


def _fashion_mnist(args, epochs):
    """Training and test set, and for how many epochs: ten times as many on the set in the package, a tenth in
    size."""
    _check_folder(args, data.FashionMNIST)
    train_set, test_set, note = data.fashion_mnist_or_mini(args.data, download=not args.no_download)
    epochs = epochs * (10 if note else 1) if args.epochs is None else args.epochs
    if note:
        print(f"Note: {note}; {epochs} epochs")
    return train_set, test_set, epochs


def _loaders(args, sets, augment=None, transform=None):
    return (
        data.DataLoader(sets[0], args.batch_size, shuffle=True, seed=args.seed, transform=augment),
        data.DataLoader(sets[1], args.batch_size, transform=transform),
    )


def _placed(net):
    return net.to("cuda") if backends.get_backend() == "cuda" else net


def _train(args, name, net, loaders, **options) -> int:
    """Fit, evaluate, write and report."""
    out, drawing = Path(args.out), _version("matplotlib")
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.npz"
    if args.resume and not any(out.glob(f"{name}*.npz")):
        print(f"--resume: there is no checkpoint in {out}; a new run begins")
    history = train.fit(
        net,
        *loaders,
        **options,
        checkpoint=path,
        resume=args.resume is not False,
        progress=not args.quiet,
        plot=out / "learning_curve.png" if drawing else None,
        time_limit=args.time_limit,
    )
    history.to_csv(out / "history.csv")
    io.save(net.state_dict(), out / "weights.safetensors")
    report = [f"loss {history.train_loss:.3f}, train acc {history.train_accuracy:.3f}"] if history else []
    if history.stopped != "interrupted":
        matrix = train.confusion_matrix(
            net,
            loaders[1],
            out / "confusion_matrix.png" if drawing else None,
            getattr(loaders[1].dataset, "classes", None),
        )
        report.append(f"test acc {matrix.trace() / matrix.sum():.4f}")
    if report:
        print(", ".join(report))
    if history.images_per_second:
        print(f"{history.images_per_second:.1f} examples/sec on {_engine()}")
    if not drawing:
        print('No pictures: drawing needs matplotlib, pip install "fastconv[train]"')
    print(f"Results are in {out}")
    if history.stopped:
        print(f"Stopped ({history.stopped}); the same command continues")
    elif history.resumed is not None and history.resumed == history.epoch:
        print("Nothing was left to train; --no-resume starts anew, another --out leaves this run as it is")
    return 130 if history.stopped == "interrupted" else 0


def _engine() -> str:
    name, threads = backends.get_backend(), settings.get_num_threads()
    return {"numpy": "cpu (numpy backend)", "cpu": f"cpu ({threads} thread{'s' * (threads > 1)})"}.get(
        name, name
    )


# ------------------------------------------------------------------------------------------------- summary
def summarise(args) -> int:
    """Print :func:`fastconv.summary` of a model."""
    size = {"lenet5": "1x28x28"}.get(args.model, "3x32x32" if args.small_input else "3x224x224")
    text = args.input or f"1x{size}"
    shape = tuple(int(n) if n.isdecimal() else n for n in text.split("x"))
    check(
        len(shape) == 4 and all(isinstance(n, int) for n in shape),
        "summary",
        f"--input must be batch x channels x height x width, such as 1x3x224x224, got {text!r}",
    )
    options = {"in_channels": shape[1]} | ({} if args.classes is None else {"num_classes": args.classes})
    if args.small_input:
        check(args.model.startswith("resnet"), "summary", f"--small-input is for ResNets, got {args.model}")
        options["small_input"] = True
    print(inspect.summary(getattr(models, args.model)(**options), shape))
    return 0


# ------------------------------------------------------------------------------------------------- warmup
def warmup(args) -> int:
    """Compile what the cpu backend needs for training, so that nothing waits for it later."""
    from .backends.cpu.runtime import machine
    from .backends.cpu.warmup import jobs

    start, todo = perf_counter(), jobs()
    try:
        from tqdm import tqdm

        bar = tqdm(todo, unit="op")
    except ImportError:
        bar = todo
    with compiling.silent():
        for label, job in bar:
            if bar is todo:
                print(f"compiling {label}", flush=True)
            else:
                bar.set_postfix_str(label)
            job()
    print(f"{len(todo)} ops ready in {perf_counter() - start:.1f} s; kernel cache: {machine.cache()}")
    return 0


# ------------------------------------------------------------------------------------------------- cache
def cache_info(args) -> int:
    """Print what is kept on disk, the folder used last first."""
    root = disk.folder()
    if root is None:
        print(
            "no folder for a cache can be written (set FASTCONV_CACHE_DIR); every process compiles its kernels anew"
        )
        return 0
    rows = disk.contents()
    print(f"{root}: {_amount(rows)}")
    for place, files, size, last in rows:
        day = strftime("%Y-%m-%d %H:%M", localtime(last))
        print(f"  {place}  {files} files, {size / 2**20:.1f} MB, last used {day}")
    print(
        f"Folders not used for {disk.OLD // disk.DAY} days go by themselves; fastconv cache clear removes all"
    )
    return 0


def cache_clear(args) -> int:
    """Remove compiled kernels and measurements; they are made again when they are needed."""
    print(f"{disk.folder() or 'no cache folder'}: {_amount(disk.clear())} removed")
    return 0


def _amount(rows) -> str:
    return f"{sum(row[1] for row in rows)} files, {sum(row[2] for row in rows) / 2**20:.1f} MB"


# ------------------------------------------------------------------------------------------------- doctor
def doctor(args) -> int:
    """Print what fastconv runs on; a part that is missing or broken is a line, never an error."""
    import numpy

    rows = {
        "fastconv": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "numpy": numpy.__version__,
    }
    for name in ("numba", "llvmlite"):
        rows[name] = _version(name) or f"not installed: the cpu backend needs it, pip install {name}"
    for name in EXTRAS:
        rows[name] = _version(name) or 'not installed (optional: pip install "fastconv[train]")'
    rows["backend"] = _or_why(backends.get_backend)
    rows["threads"] = _or_why(
        lambda: f"{settings.get_num_threads()} of {settings.available_cpus()} processors"
    )
    rows |= _or_why(_cpu_rows) if _version("numba") else {}
    if version := _version("numba-cuda"):
        rows["numba-cuda"] = version
    rows["GPU"] = _or_why(cuda.describe)
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:{width}}  {text}")
    return 0


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _or_why(look):
    try:
        return look()
    except Exception as e:  # doctor exists for machines on which something is wrong
        why = f"not available: {type(e).__name__}: {e}"
        return {"cpu backend": why} if look is _cpu_rows else why


def _cpu_rows() -> dict[str, str]:
    from .backends.cpu.runtime import machine

    looks = {
        "CPU": machine.processor,
        "vector unit": machine.vector_unit,
        "threading layer": machine.threading_layer,
        "kernel cache": machine.cache,
        "buffer pool": machine.pool,
    }
    return {name: _or_why(look) for name, look in looks.items()}
