"""Measure the library against the bare framework: see README.md in this folder."""
