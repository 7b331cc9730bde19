"""Requests that are refused, with the sentence that the page shows."""


class Refused(Exception):
    """A request that is not answered. The status is that of HTTP."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status
