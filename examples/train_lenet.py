"""Train LeNet on Fashion-MNIST: ``python examples/train_lenet.py``; with ``--classic`` as the course notes
do.

The same as ``fastconv train lenet``; the loop is in fastconv/train/, the net in fastconv/models/lenet.py.
"""

import sys

from fastconv.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", "lenet", *sys.argv[1:]]))
