"""Measurements against the bare framework: see README.md beside this file."""
