"""Convolution: the list of algorithms, and a file for each."""
