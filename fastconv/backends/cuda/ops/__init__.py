"""The operations of the contract, except convolution."""
