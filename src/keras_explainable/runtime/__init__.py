"""How steps are run: compiled, repeated, interrupted, within the memory that there is."""
