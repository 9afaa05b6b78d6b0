"""PTX instructions, and the tiles of a matrix product."""
