"""Hide parts of images: segments that are hidden together, and what replaces them."""
