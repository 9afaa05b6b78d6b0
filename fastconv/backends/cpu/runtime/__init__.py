"""Kernels run on this: memory, layouts, recorded launches, and the rates of the machine."""
