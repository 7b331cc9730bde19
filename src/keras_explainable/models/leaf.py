"""The user's choice of the input that holds the images."""

from typing import Any, NamedTuple

from keras_explainable.errors import InputError


class Leaf(NamedTuple):
    """Which of several inputs holds the images, and which inputs are the same for all images."""

    at: Any
    shared: tuple[tuple, ...] = ()

    @classmethod
    def of(cls, leaf: Any, shared: Any) -> Any:
        """Combine `leaf` and `shared`. If nothing is shared, return the leaf as it came."""
        if shared is None:
            return leaf
        if leaf is None:
            raise InputError(f"shared={shared!r} came without leaf=, which says where the images are: give both.")
        names = shared if isinstance(shared, list) else [shared]
        return cls(leaf, tuple(name if isinstance(name, tuple) else (name,) for name in names))
