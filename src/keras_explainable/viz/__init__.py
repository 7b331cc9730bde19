"""Pictures of maps: `image` (NumPy and pillow), `figure` (matplotlib), `report` (one HTML file), `text` (tables)."""
