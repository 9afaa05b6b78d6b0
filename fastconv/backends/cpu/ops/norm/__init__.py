"""Normalisation: over the batch, groups of channels, rows, and neighbouring channels."""
