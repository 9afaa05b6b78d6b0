"""Train ResNet-18 on Fashion-MNIST or CIFAR-10: ``python examples/train_resnet18.py --help``.

The same as ``fastconv train resnet18``; the loop is in fastconv/train/, the net in fastconv/models/resnet.py.
"""

import sys

from fastconv.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", "resnet18", *sys.argv[1:]]))
