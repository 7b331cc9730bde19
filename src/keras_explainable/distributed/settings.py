"""What the values of a run depend on. A run goes on only with the same settings; each difference is named."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_explainable.distributed.layout import DTYPES, FORMATS, RESOLUTIONS
from keras_explainable.errors import InputError, shortly

FREE = "batch_size"  # may change between runs, unless the method draws random numbers


@dataclass(frozen=True)
class ModelSource:
    """What `ke.load` takes. `name` is also the URL of a file in the output, of a model that was given itself."""

    name: str | None
    weights: str | None = "imagenet"
    safe_mode: bool = True
    scale: str | None = None
    size: tuple[int, int] | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Job:
    """What a worker needs to know. It is sent to all workers, and so holds no model."""

    out: str
    storage_options: dict[str, Any]
    method: Any
    params: dict[str, Any]
    model: ModelSource
    unit: int | str
    batch_size: int
    dtype: str
    resolution: str
    fit: str | None
    max_attempts: int
    session: str = ""  # see `Commits`
    found: dict[str, Any] = field(default_factory=dict)  # by the first worker: what all others must find as well


def check_choices(job: Job, format: str) -> None:
    """Raise if one of a few words was expected and another came."""
    for name, value, known in (
        ("dtype", job.dtype, DTYPES),
        ("format", format, FORMATS),
        ("resolution", job.resolution, RESOLUTIONS),
    ):
        if value not in known:
            raise InputError(f"{name}={shortly(value)} came, and one of {', '.join(known)} was expected.")
    for name, number in (("batch_size", job.batch_size), ("max_attempts", job.max_attempts)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InputError(f"{name}={shortly(number)} came, and a number, 1 or more, was expected.")


def plain(value: Any, what: str = "a parameter") -> Any:
    """A value as JSON has it, equal for equal values in every process.

    Raises:
        InputError: it has no such form, as a function without a name.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): plain(one, f"{what}[{key!r}]") for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one, what) for one in value]
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"array": [str(value.dtype), *value.shape], "sha256": digest}
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    if callable(value) and not name.startswith(".") and not name.endswith(".") and "<" not in name:
        return name
    text = repr(value)
    if " at 0x" in text or "<" in text:
        raise InputError(
            f"{what} is {shortly(value)}, and what a run depends on must be the same in every process: a number, "
            "a text, an array, a function of a module, or a score of ke.scores was expected."
        )
    return text


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A text for each setting that is not the same."""
    return [
        f"{name}={_short(there.get(name))} there, {_short(now[name])} now"
        for name in now
        if there.get(name) != now[name]
    ]


def check_same(out: str, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise if a run has other settings, naming each."""
    changed = differences(there, now)
    if changed:
        raise InputError(f"{out} holds another run: {'; '.join(changed)}. Give another OUT, or the same settings.")


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A text that differs if a setting does."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
