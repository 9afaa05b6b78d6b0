"""The functions ``fc.NAME``: methods of Tensor as functions, and those of several tensors or of none."""
