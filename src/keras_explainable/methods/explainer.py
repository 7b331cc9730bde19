"""The decorator that turns a function of a view into a public, registered method."""

from collections.abc import Callable, Iterable

from keras_explainable import models, registry
from keras_explainable.costs import Cost
from keras_explainable.errors import InputError


def explainer(
    family: str,
    needs: str | Iterable[str],
    cost: str,
    reference: str,
    *,
    postprocessing: Callable | None = None,
    resizing: bool = True,
    caveat: str = "",
    repeats: bool = False,
    shares: str = "",
    at_images: bool = False,
    about: Callable | None = None,
) -> Callable:
    """A decorator that registers a method.

    The decorated function is `method(view, ...) -> (scores, maps)`, with a `models.View` and its own parameters. It is
    replaced by the public function `method(model, inputs, indices=None, score=None, ...)`, which opens the view. That
    function is registered under its name, so that `ke.<name>`, `ke.get`, the command line and the tables know it.

    Args:
        family, cost, reference, postprocessing, resizing, caveat: see `registry.Record`.
        needs: some of `registry.Need`, or their words: "hidden signal, gradient".
        repeats, shares, at_images, about: see `registry.Traits`.

    Raises:
        InputError: a need is unknown, or the cost cannot be read.
    """

    def enter(method: Callable) -> Callable:
        public = models.opens_view(method)
        registry.register(
            registry.Record(
                public.__name__,
                public,
                family,
                registry.needs_of(needs),
                _cost(cost),
                reference,
                postprocessing,
                resizing,
                caveat,
                registry.Traits(repeats, shares, at_images, about),
            )
        )
        return public

    return enter


def _cost(text: str) -> Cost:
    try:
        return Cost(text)
    except ValueError as error:
        raise InputError(str(error)) from error
