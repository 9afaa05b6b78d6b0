"""Training of one net on several ranks (see ``fastconv.distributed``).

bucket.py          gradients that are sent together, in one flat buffer
reducer.py         fills and sends the buckets during the backward pass
agreement.py       whether all ranks have the same net; copies of tensors from one rank to all
data_parallel.py   DistributedDataParallel
"""

from .data_parallel import DistributedDataParallel

__all__ = ["DistributedDataParallel"]
