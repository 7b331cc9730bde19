"""Files and objects by their address. What a busy store refuses is tried again."""

import errno
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

PAUSES = (1.0, 4.0)  # seconds between the tries, of which there is one more
BUSY = {408, 429, 500, 502, 503, 504}  # HTTP's answers that may be others soon
BUSY_NUMBERS = {errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, getattr(errno, "EREMOTEIO", errno.ETIMEDOUT)}
BROKEN = re.compile("Timeout|Connection|Disconnected|IncompleteRead|PayloadError")  # names of clients' exceptions

Result = TypeVar("Result")


def located(address: str | Path, options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """Return the fsspec file system of a path or URL, and the path inside it."""
    if "://" not in str(address) or str(address).startswith("file://"):  # also names with "::", which chains others
        return LocalFileSystem(), LocalFileSystem._strip_protocol(str(address))
    return fsspec.core.url_to_fs(str(address), **(options or {}))


def is_local(files: Any) -> bool:
    """Return whether a file system is this machine's."""
    return isinstance(files, LocalFileSystem)


def address(files: Any, path: str) -> str:
    """Return the URL of a path, which `located` takes apart again."""
    return files.unstrip_protocol(path)


def patiently(action: Callable[..., Result], *args: Any) -> Result:
    """Return `action(*args)`. If a store is busy or does not answer, try it twice more, after a pause each."""
    for pause in PAUSES:
        try:
            return action(*args)
        except Exception as error:
            if not is_transient(error):
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))  # many workers are refused at once
    return action(*args)


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may soon succeed: the store is busy, or the connection broke or timed out."""
    return any(
        isinstance(one, TimeoutError | ConnectionError)
        or getattr(one, "errno", None) in BUSY_NUMBERS
        or BUSY & statuses(one)
        or any(BROKEN.search(kind.__name__) for kind in type(one).__mro__)
        for one in causes(error)
    )


def statuses(error: BaseException) -> set[int]:
    """Return the HTTP status in an exception of aiohttp, gcsfs, adlfs or botocore."""
    answer = getattr(error, "response", None)
    metadata = answer.get("ResponseMetadata", {}) if isinstance(answer, Mapping) else {}
    found = [getattr(error, name, None) for name in ("status", "status_code", "code")]
    found.append(metadata.get("HTTPStatusCode"))
    return {int(one) for one in found if isinstance(one, int | str) and str(one).isdecimal()}


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those that it was raised from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def is_beyond_the_end(error: BaseException) -> bool:
    """Return whether a store refused a range because the object is shorter, or empty."""
    return any(416 in statuses(one) or "InvalidRange" in str(one) for one in causes(error))
