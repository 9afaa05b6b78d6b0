"""Convolution: the list of algorithms, and a file or folder for each."""
