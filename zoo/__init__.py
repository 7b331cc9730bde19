"""Explain 293 architectures by each family of methods, and compare the results with a second computation."""
