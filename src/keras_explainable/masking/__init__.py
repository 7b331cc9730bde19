"""Hiding parts of images: segments that are hidden together, and what is put in their place."""
