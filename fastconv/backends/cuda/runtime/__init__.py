"""What kernels run on: the device, memory, launches, streams."""
