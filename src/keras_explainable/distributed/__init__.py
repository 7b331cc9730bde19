"""Explain millions of images in parts, on one machine or on many."""
