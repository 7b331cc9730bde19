"""The exception for an image that cannot be explained, while all others can."""


class SetAside(ValueError):
    """An image is gone, empty, damaged, too large or no image. `reason` is the sentence that its record keeps."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason
