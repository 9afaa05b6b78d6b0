"""What kernels run on: memory, layouts, facts of the machine."""
