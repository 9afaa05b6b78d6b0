"""The functions ``fc.NAME``: the methods of Tensor as functions, and functions of several tensors or none."""
