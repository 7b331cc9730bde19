"""The decorator that turns a function of a view into a public, registered method."""

from collections.abc import Callable

from keras_explainable import models, registry


def explainer(
    family: str,
    needs: str,
    cost: str,
    reference: str,
    *,
    postprocessing: Callable | None = None,
    resizing: bool = True,
    caveat: str = "",
) -> Callable:
    """A decorator that registers a method.

    The decorated function is `method(view, ...) -> (scores, maps)`, with a `models.View` and its own parameters. It is
    replaced by the public function `method(model, inputs, indices=None, score=None, ...)`, which opens the view. That
    function is registered under its name, so that `ke.<name>`, `ke.get`, the command line and the tables know it.

    Args:
        family, needs, cost, reference, postprocessing, resizing, caveat: see `registry.Record`.
    """

    def enter(method: Callable) -> Callable:
        public = models.opens_view(method)
        registry.register(
            registry.Record(public.__name__, public, family, needs, cost, reference, postprocessing, resizing, caveat)
        )
        return public

    return enter
