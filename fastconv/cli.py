"""The command ``fastconv`` (also ``python -m fastconv``): doctor, warmup, summary, train, bench."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from time import perf_counter

from . import backends, cuda, data, inspect, io, models, nn, optim, random, train
from ._version import __version__
from .backends import settings
from .spec import check

EXTRAS = ("tqdm", "pooch", "matplotlib")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 on a user's error (one line on stderr), 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["bench"]:  # its options are bench/compare.py's: see fastconv bench --help
        return _bench(argv[1:])
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as e:
        if args.traceback:
            raise
        print(f"fastconv: error: {e}", file=sys.stderr)
        return 2


def _bench(options: list[str]) -> int:
    """Run ``bench/compare.py`` of the checkout that this package lies in."""
    script = Path(__file__).resolve().parents[1] / "bench" / "compare.py"
    if not script.exists():
        print(f"fastconv: error: bench: {script} does not exist; it comes with a source checkout", file=sys.stderr)
        return 2
    return subprocess.call([sys.executable, str(script), *options])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastconv", description="Train and run convolutional networks.")
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(where, name, run, text):
        p = where.add_parser(name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        p.add_argument("--traceback", action="store_true", help="show where an error came from")
        p.set_defaults(run=run)
        return p

    command(commands, "doctor", doctor, "show versions, processor, threads, kernel cache and GPU")
    command(commands, "warmup", warmup, "compile every kernel of the cpu backend now")
    count = command(commands, "summary", summarise, "print a network's shapes, parameters, multiply-adds and receptive fields")
    count.add_argument("model", choices=[name for name in models.__all__ if name.islower()], metavar="MODEL",
                       help="one of %(choices)s")  # fmt: skip
    count.add_argument("--input", metavar="NxCxHxW", help="default: 1x3x224x224, for lenet5 1x1x28x28")
    count.add_argument("--classes", type=int, help="default: the model's own")
    count.add_argument("--small-input", action="store_true", help="ResNet for images of about 32x32")
    commands.add_parser("bench", help="compare speed with PyTorch and others (needs a source checkout)", add_help=False)
    nets = commands.add_parser("train", help="train a network").add_subparsers(required=True, metavar="NETWORK")
    lenet = command(nets, "lenet", train_lenet, "train LeNet on Fashion-MNIST as the course notes do")
    option = lenet.add_argument
    option("--modern", action="store_true", help="ReLU, max pooling, momentum and a one-cycle schedule")
    option("--epochs", type=int, help="default: 10 on the full set, 100 (as many steps) on the set in the package")
    option("--batch-size", type=int, default=256)
    option("--lr", type=float, help="learning rate (default: 0.9, with --modern the peak 0.1)")
    option("--data", metavar="DIR", help="folder of the data set (default: searched for, else downloaded)")
    _training_options(option, "runs/lenet")
    resnet = command(nets, "resnet18", train_resnet18, "train ResNet-18 on Fashion-MNIST or CIFAR-10")
    option = resnet.add_argument
    option("--data", choices=IMAGES, default="fashion-mnist", help="which images")
    option("--root", metavar="DIR", help="folder of the data set (default: searched for, else downloaded)")
    option("--epochs", type=int, help="default: 2 on Fashion-MNIST (20, as many steps, on the set in the package), "
           "15 on CIFAR-10")  # fmt: skip
    option("--batch-size", type=int, default=64)
    option("--lr", type=float, default=0.1, help="highest learning rate")
    option("--schedule", choices=("one-cycle", "cosine"), default="one-cycle")
    option("--weight-decay", type=float, default=5e-4)
    option("--label-smoothing", type=float, default=0.1)
    option("--pad-crop", metavar="PIXELS", type=int, help="shift images at random by up to so many pixels "
           "(default: 4 on CIFAR-10, else 0; with 2, Fashion-MNIST needs more epochs)")  # fmt: skip
    option("--no-flip", action="store_true", help="do not mirror images at random")
    option("--cutout", metavar="PIXELS", type=int, default=0, help="blank a random square of this side; 0: none")
    option("--checkpoint-every", metavar="STEPS", type=int, default=200)
    _training_options(option, "runs/resnet18")
    return parser


def _training_options(option, out):
    option("--backend", choices=backends.BACKENDS, help="engine (default: FASTCONV_BACKEND, else cpu)")
    option("--threads", type=int, help="threads per kernel (default: every processor)")
    option("--seed", type=int, default=0)
    option("--out", metavar="DIR", default=out, help="folder of pictures, history, weights and checkpoint")
    option("--resume", action="store_true", help="continue from the checkpoint in --out")
    option("--time-limit", metavar="SECONDS", type=float, help="end training after this time, with a checkpoint")
    option("--no-download", action="store_true", help="use what is on this machine")
    option("--quiet", action="store_true", help="no progress bar")


# ------------------------------------------------------------------------------------------------- train
#: Channels, mean and standard deviation of the training images, shift of pad-crop, epochs.
IMAGES = {
    "fashion-mnist": (1, 0.2860, 0.3530, 0, 2),
    "cifar10": (3, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 4, 15),
}


def train_lenet(args) -> int:
    """Train LeNet; write pictures, history, weights and the checkpoint ``lenet.npz`` to ``args.out``."""
    _prepare(args)
    *sets, epochs = _fashion_mnist(args, args.data, 10)
    loaders = _loaders(args, sets)
    net = _placed(models.lenet5(modern=args.modern))
    if args.modern:
        lr = 0.1 if args.lr is None else args.lr
        optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        scheduler = optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(epochs, 1) * len(loaders[0]))
    else:
        optimizer, scheduler = optim.SGD(net.parameters(), lr=0.9 if args.lr is None else args.lr), None
    return _train(args, "lenet", net, loaders, epochs=epochs, optimizer=optimizer, scheduler=scheduler)


def train_resnet18(args) -> int:
    """Train ResNet-18; write pictures, history, weights and the checkpoint ``resnet18.npz`` to ``args.out``."""
    _prepare(args)
    channels, mean, std, shift, epochs = IMAGES[args.data]
    if args.data == "cifar10":
        sets = [data.CIFAR10(args.root, train, not args.no_download) for train in (True, False)]
        epochs = epochs if args.epochs is None else args.epochs
    else:
        *sets, epochs = _fashion_mnist(args, args.root, epochs)
    normalize, t = data.transforms.normalize(mean, std), data.transforms
    shift = shift if args.pad_crop is None else args.pad_crop
    augment = [t.pad_crop(shift)] if shift else []
    augment += [] if args.no_flip else [t.horizontal_flip()]
    augment += [normalize] + ([t.cutout(args.cutout)] if args.cutout else [])  # 0 after normalize: the mean grey
    loaders = _loaders(args, sets, t.compose(*augment), normalize)
    net = _placed(models.resnet18(num_classes=10, in_channels=channels, small_input=True))
    optimizer = optim.SGD(net.parameters(), args.lr, momentum=0.9, weight_decay=args.weight_decay, nesterov=True)
    steps = max(epochs, 1) * len(loaders[0])
    if args.schedule == "cosine":
        scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        scheduler.interval = "step"
    else:
        scheduler = optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps)
    return _train(args, "resnet18", net, loaders, epochs=epochs, optimizer=optimizer, scheduler=scheduler,
                  loss=nn.CrossEntropyLoss(label_smoothing=args.label_smoothing),
                  checkpoint_every=args.checkpoint_every)  # fmt: skip


def _prepare(args) -> None:
    if args.threads is not None:
        settings.set_num_threads(args.threads)
    if args.backend is not None:
        backends.set_backend(args.backend)
    random.manual_seed(args.seed)


def _fashion_mnist(args, root, epochs):
    """Training and test set, and for how many epochs: ten times as many on the set in the package, a tenth in size."""
    train_set, test_set, note = data.fashion_mnist_or_mini(root, download=not args.no_download)
    epochs = epochs * (10 if note else 1) if args.epochs is None else args.epochs
    if note:
        print(f"Note: {note}; {epochs} epochs")
    return train_set, test_set, epochs


def _loaders(args, sets, augment=None, transform=None):
    return (data.DataLoader(sets[0], args.batch_size, shuffle=True, seed=args.seed, transform=augment),
            data.DataLoader(sets[1], args.batch_size, transform=transform))  # fmt: skip


def _placed(net):
    return net.to("cuda") if backends.get_backend() == "cuda" else net


def _train(args, name, net, loaders, **options) -> int:
    """Fit, evaluate, write and report."""
    out, drawing = Path(args.out), _version("matplotlib")
    out.mkdir(parents=True, exist_ok=True)
    history = train.fit(
        net, *loaders, **options, checkpoint=out / f"{name}.npz", resume=args.resume, progress=not args.quiet,
        plot=out / "learning_curve.png" if drawing else None, time_limit=args.time_limit,
    )  # fmt: skip
    history.to_csv(out / "history.csv")
    io.save(net.state_dict(), out / "weights.safetensors")
    report = [f"loss {history.train_loss:.3f}, train acc {history.train_accuracy:.3f}"] if history else []
    if history.stopped != "interrupted":
        matrix = train.confusion_matrix(net, loaders[1], out / "confusion_matrix.png" if drawing else None,
                                        getattr(loaders[1].dataset, "classes", None))  # fmt: skip
        report.append(f"test acc {matrix.trace() / matrix.sum():.4f}")
    if report:
        print(", ".join(report))
    if history.images_per_second:
        print(f"{history.images_per_second:.1f} examples/sec on {_engine()}")
    if not drawing:
        print('No pictures: drawing needs matplotlib, pip install "fastconv[train]"')
    print(f"Results are in {out}")
    if history.stopped:
        print(f"Stopped ({history.stopped}); the same command with --resume continues")
    return 130 if history.stopped == "interrupted" else 0


def _engine() -> str:
    name, threads = backends.get_backend(), settings.get_num_threads()
    return {"numpy": "cpu (numpy backend)", "cpu": f"cpu ({threads} thread{'s' * (threads > 1)})"}.get(name, name)


# ------------------------------------------------------------------------------------------------- summary
def summarise(args) -> int:
    """Print :func:`fastconv.summary` of a model."""
    text = args.input or ("1x1x28x28" if args.model == "lenet5" else "1x3x224x224")
    shape = tuple(int(n) if n.isdecimal() else n for n in text.split("x"))
    check(len(shape) == 4 and all(isinstance(n, int) for n in shape), "summary",
          f"--input must be batch x channels x height x width, such as 1x3x224x224, got {text!r}")  # fmt: skip
    options = {"in_channels": shape[1]} | ({} if args.classes is None else {"num_classes": args.classes})
    if args.small_input:
        check(args.model.startswith("resnet"), "summary", f"--small-input is for ResNets, got {args.model}")
        options["small_input"] = True
    print(inspect.summary(getattr(models, args.model)(**options), shape))
    return 0


# ------------------------------------------------------------------------------------------------- warmup
def warmup(args) -> int:
    """Compile what the cpu backend needs for training, so that nothing waits for it later."""
    from .backends.cpu import facts
    from .backends.cpu.warmup import jobs

    start, todo = perf_counter(), jobs()
    try:
        from tqdm import tqdm

        bar = tqdm(todo, unit="op")
    except ImportError:
        bar = todo
    for label, job in bar:
        if bar is todo:
            print(f"compiling {label}", flush=True)
        else:
            bar.set_postfix_str(label)
        job()
    print(f"{len(todo)} ops ready in {perf_counter() - start:.1f} s; kernel cache: {facts.cache()}")
    return 0


# ------------------------------------------------------------------------------------------------- doctor
def doctor(args) -> int:
    """Print what fastconv runs on; a part that is missing or broken is a line, never an error."""
    import numpy

    rows = {"fastconv": __version__, "python": f"{platform.python_version()} ({sys.executable})",
            "system": platform.platform(), "numpy": numpy.__version__}  # fmt: skip
    for name in ("numba", "llvmlite"):
        rows[name] = _version(name) or f"not installed: the cpu backend needs it, pip install {name}"
    for name in EXTRAS:
        rows[name] = _version(name) or 'not installed (optional: pip install "fastconv[train]")'
    rows["backend"] = _or_why(backends.get_backend)
    rows["threads"] = _or_why(lambda: f"{settings.get_num_threads()} of {settings.available_cpus()} processors")
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
    from .backends.cpu import facts

    looks = {"CPU": facts.processor, "vector unit": facts.vector_unit, "threading layer": facts.threading_layer,
             "kernel cache": facts.cache, "buffer pool": facts.pool}  # fmt: skip
    return {name: _or_why(look) for name, look in looks.items()}
