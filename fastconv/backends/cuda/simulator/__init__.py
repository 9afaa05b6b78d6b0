"""What stands in for a device: numba's simulator, made to run whole networks."""
