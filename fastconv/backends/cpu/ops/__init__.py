"""The operations of the contract, except convolution and chains of layers."""
