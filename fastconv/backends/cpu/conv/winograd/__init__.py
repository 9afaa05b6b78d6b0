"""Winograd's minimal filtering: transforms, plans, and the two passes."""
