"""Which of several inputs is the images, as the user says it."""

from typing import Any, NamedTuple

from keras_explainable.errors import InputError


class Leaf(NamedTuple):
    """Which of several inputs is the images, and which are the same for all of them."""

    at: Any
    shared: tuple[tuple, ...] = ()

    @classmethod
    def of(cls, leaf: Any, shared: Any) -> Any:
        """The leaf as it came if nothing is shared."""
        if shared is None:
            return leaf
        if leaf is None:
            raise InputError(f"shared={shared!r} came without leaf=, which says where the images are: give both.")
        names = shared if isinstance(shared, list) else [shared]
        return cls(leaf, tuple(name if isinstance(name, tuple) else (name,) for name in names))
