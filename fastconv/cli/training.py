"""``fastconv train``: train LeNet or ResNet-18, and write pictures, history, weights and a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .. import backends, cuda, data, distributed, io, models, nn, optim, random, train
from ..backends import settings
from ..data.datasets import PublishedSet
from .options import AT_LEAST_0, AT_LEAST_1, BELOW_1, NOT_NEGATIVE, POSITIVE, command
from .versions import version

T = TypeVar("T")

#: Channels, mean and standard deviation of the training images, shift of pad-crop, epochs.
IMAGES = {
    "fashion-mnist": (1, 0.2860, 0.3530, 0, 2),
    "cifar10": (3, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 4, 15),
}


# ------------------------------------------------------------------------------------------------- options
def add(commands: Any) -> None:
    """Declare the command and its networks."""
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
    option("--batch-size", metavar="N", type=AT_LEAST_1, default=256, help="images per step, of all ranks")
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
    option("--batch-size", metavar="N", type=AT_LEAST_1, default=64, help="images per step, of all ranks")
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


def _training_options(parser: argparse.ArgumentParser, out: str) -> None:
    """The options of both networks; ``out`` says where the results go by default."""
    option = parser.add_argument
    option(
        "--data",
        metavar="DIR",
        help="folder that holds the files of the data set (default: the usual folders are "
        "searched, else they are downloaded)",
    )
    option("--backend", choices=backends.BACKENDS, help="engine (default: FASTCONV_BACKEND, else cpu)")
    option(
        "--threads",
        metavar="N",
        type=AT_LEAST_1,
        help="threads per kernel (default: every processor, which the ranks of a host share)",
    )
    option(
        "--distributed",
        action="store_true",
        help="train on all ranks that mpiexec has started (see docs/distributed.md)",
    )
    option(
        "--sync-batch-norm",
        action="store_true",
        help="with --distributed: BatchNorm over the images of all ranks",
    )
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


# ------------------------------------------------------------------------------------------------- networks
def train_lenet(args: argparse.Namespace) -> int:
    """Train LeNet; write pictures, history, weights and the checkpoint ``lenet.npz`` to ``args.out``."""
    _prepare(args)
    *sets, epochs = _fashion_mnist(args, 10)
    loaders = _loaders(args, sets)
    net = _placed(args, models.lenet5(modern=not args.classic))
    if args.classic:
        optimizer, scheduler = optim.SGD(net.parameters(), lr=args.lr or 0.9), None
    else:
        lr = args.lr or 0.1
        optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        scheduler = optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(epochs, 1) * len(loaders[0]))
    args.out = args.out or ("runs/lenet-classic" if args.classic else "runs/lenet")
    return _train(args, "lenet", net, loaders, epochs=epochs, optimizer=optimizer, scheduler=scheduler)


def train_resnet18(args: argparse.Namespace) -> int:
    """Train ResNet-18; as :func:`train_lenet`, with the checkpoint ``resnet18.npz``."""
    _prepare(args)
    channels, mean, std, shift, epochs = IMAGES[args.dataset]
    if args.dataset == "cifar10":
        _check_folder(args, data.CIFAR10)
        sets = _main_first(
            lambda: [data.CIFAR10(args.data, train, not args.no_download) for train in (True, False)]
        )
        epochs = epochs if args.epochs is None else args.epochs
    else:
        *sets, epochs = _fashion_mnist(args, epochs)
    normalize, t = data.transforms.normalize(mean, std), data.transforms
    shift = shift if args.pad_crop is None else args.pad_crop
    augment = [t.pad_crop(shift)] if shift else []
    augment += [] if args.no_flip else [t.horizontal_flip()]
    # after normalize, because the 0 that cutout writes is then the mean grey
    augment += [normalize] + ([t.cutout(args.cutout)] if args.cutout else [])
    loaders = _loaders(args, sets, t.compose(*augment), normalize)
    net = _placed(args, models.resnet18(num_classes=10, in_channels=channels, small_input=True))
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


def _prepare(args: argparse.Namespace) -> None:
    """Apply the options that count for the whole process."""
    if args.distributed:
        distributed.init()
    ranks = distributed.world_size()
    if args.batch_size % ranks:
        raise ValueError(f"--batch-size {args.batch_size} cannot be divided among {ranks} ranks")
    if args.threads is not None:
        settings.set_num_threads(args.threads)
    if args.backend is not None:
        backends.set_backend(args.backend)
    if args.distributed and backends.get_backend() == "cuda":
        cuda.set_device(distributed.local_rank() % cuda.device_count())
    random.manual_seed(args.seed)


def _main_first(load: Callable[[], T]) -> T:
    """What ``load()`` returns. The other ranks wait for rank 0, which may have to download."""
    if distributed.rank():
        distributed.barrier()
        return load()
    found = load()
    distributed.barrier()
    return found


def _check_folder(args: argparse.Namespace, kind: type[PublishedSet]) -> None:
    """Refuse a folder that was named and does not hold the images, instead of searching elsewhere."""
    if args.data in IMAGES and not Path(args.data).exists():
        raise ValueError(
            f"--data is the folder that holds the images; which images they are says --dataset {args.data}"
        )
    for part in (True, False) if args.data else ():
        kind.find(args.data, part)


def _fashion_mnist(args: argparse.Namespace, epochs: int) -> tuple[Any, Any, int]:
    """Training set, test set and number of epochs.

    The set in the package has a tenth of the images, so ten times as many epochs are trained on it.
    """
    _check_folder(args, data.FashionMNIST)
    train_set, test_set, note = _main_first(
        lambda: data.fashion_mnist_or_mini(args.data, download=not args.no_download)
    )
    epochs = epochs * (10 if note else 1) if args.epochs is None else args.epochs
    if note and distributed.rank() == 0:
        print(f"Note: {note}; {epochs} epochs")
    return train_set, test_set, epochs


def _loaders(
    args: argparse.Namespace, sets: list[Any], augment: Any = None, transform: Any = None
) -> tuple[data.DataLoader, data.DataLoader]:
    own = args.batch_size // distributed.world_size()
    if args.distributed:  # in the same order as without
        order: dict[str, Any] = {"sampler": data.DistributedSampler(sets[0], seed=args.seed)}
    else:
        order = {"shuffle": True}
    return (
        data.DataLoader(sets[0], own, **order, seed=args.seed, transform=augment),
        data.DataLoader(sets[1], own, transform=transform),
    )


def _placed(args: argparse.Namespace, net: nn.Module) -> nn.Module:
    """``net`` on the device of the backend in force."""
    if args.sync_batch_norm:
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    return net.to("cuda") if backends.get_backend() == "cuda" else net


def _train(
    args: argparse.Namespace,
    name: str,
    net: nn.Module,
    loaders: tuple[data.DataLoader, data.DataLoader],
    **options: Any,
) -> int:
    """Fit, evaluate, write and report."""
    out, drawing, main = Path(args.out), version("matplotlib"), distributed.rank() == 0
    if main:
        out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.npz"
    if main and args.resume and not any(out.glob(f"{name}*.npz")):
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
        distributed=args.distributed,
    )
    status = {"interrupted": 130, "terminated": 143}.get(history.stopped or "", 0)
    if not main:
        return status
    history.to_csv(out / "history.csv")
    io.save(net.state_dict(), out / "weights.safetensors")
    report = [f"loss {history.train_loss:.3f}, train acc {history.train_accuracy:.3f}"] if history else []
    if not status:
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
    return status


def _engine() -> str:
    """The engine in force and its threads, for the report."""
    name, threads = backends.get_backend(), settings.get_num_threads()
    ranks = f"{distributed.world_size()} ranks, " * (distributed.world_size() > 1)
    return {
        "numpy": f"cpu ({ranks}numpy backend)",
        "cpu": f"cpu ({ranks}{threads} thread{'s' * (threads > 1)})",
    }.get(name, f"{ranks}{name}")
