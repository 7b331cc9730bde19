"""Limits on files that are read, which can be imported without what reads the files."""

MAX_PIXELS = 50_000_000  # of an image file, by default
