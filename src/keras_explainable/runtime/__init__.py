"""How steps are run: compiled, repeated, interruptible, within the available memory."""
