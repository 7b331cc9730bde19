"""Every architecture that people use, explained by each family of methods and compared with a second computation."""
