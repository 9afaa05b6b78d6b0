"""The normalisations, a file for each kind."""
