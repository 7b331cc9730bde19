"""Several methods on one view: what several of them need is computed once.

A method does not know about the others. It requests something from its view, such as a pass of the model (`ask`).
`together` calls every method until it makes a request, computes the answers, and calls the methods again with these,
until all of them have returned. What a method computes between two requests is computed again, so it should be little.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

from keras_explainable import backend


class Request(Protocol):
    """What a method asks a view for."""

    @property
    def group(self) -> Hashable:
        """Equal for requests that are answered together."""

    @property
    def key(self) -> Hashable:
        """Equal for requests that have the same answer. None if this is not known."""

    def answers(self, view: Any, requests: Sequence) -> list:
        """The answer to each request of a group that includes this one. An answer may be an exception to raise."""


class Answers:
    """The answers that a method gets: `known`, in the order in which it asks, and then those in `by_key` that others
    got."""

    def __init__(self, known: list, by_key: Mapping[Hashable, Any]) -> None:
        self.known, self.by_key, self.asked = known, by_key, 0

    def next(self, request: Request) -> Any:
        if self.asked == len(self.known):
            if request.key not in self.by_key:
                raise Asked(request)
            self.known.append(self.by_key[request.key])
        self.asked += 1
        return self.known[self.asked - 1]


class Asked(BaseException):
    """Raised when a method requests what is not known yet. Not an `Exception`, because a method may catch these."""

    def __init__(self, request: Request) -> None:
        self.request = request


def ask(view: Any, request: Request) -> Any:
    """The answer to a request: computed now, or with others if the view is shared."""
    answer = request.answers(view, [request])[0] if view.answers is None else view.answers.next(request)
    if isinstance(answer, Exception):
        raise answer
    return answer


def together(view: Any, calls: Sequence[Callable[[Any], Any]]) -> list:
    """What each of several functions of a view returns, or the exception that it raises.

    Raises:
        Exception: the device has too little memory.
    """
    if len(calls) == 1:
        try:
            return [calls[0](view.sharing(None))]
        except Exception as error:
            return [_kept(error)]
    known: list[list] = [[] for _ in calls]
    by_key: dict[Hashable, Any] = {}
    results: list = [None] * len(calls)
    waiting = list(range(len(calls)))
    while waiting:
        groups: dict[Hashable, list[tuple[int, Request]]] = {}
        for i in waiting:
            try:
                results[i] = calls[i](view.sharing(Answers(known[i], by_key)))
                known[i].clear()
            except Asked as asked:
                groups.setdefault(asked.request.group, []).append((i, asked.request))
            except Exception as error:
                results[i] = _kept(error)
        for group in groups.values():
            for (i, request), answer in zip(group, _answers(view, [request for _, request in group]), strict=True):
                known[i].append(answer)
                if request.key is not None:
                    by_key[request.key] = answer
        waiting = [i for group in groups.values() for i, _ in group]
    return results


def all_together(view: Any, calls: Sequence[Callable[[Any], Any]]) -> tuple:
    """What each of several functions of a view returns. The first exception that one raises is raised."""
    results = together(view, calls)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return tuple(results)


def _answers(view: Any, requests: Sequence[Request]) -> list:
    """The answer to each request of a group. If that fails, each is computed by itself, to see which one fails."""
    try:
        return requests[0].answers(view, requests)
    except Exception as error:
        if len(requests) == 1:
            return [_kept(error)]
        if backend.is_out_of_memory(error):
            raise
    return [answer for request in requests for answer in _answers(view, [request])]


def _kept(error: Exception) -> Exception:
    """An exception to raise later. Raised now if the device has too little memory."""
    if backend.is_out_of_memory(error):
        raise error
    return error
