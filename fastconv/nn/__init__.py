"""Layers, losses, initialisation; ``nn.functional`` has the same as functions."""
