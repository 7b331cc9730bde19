"""How a report was made, and where its methods are documented."""

import datetime
import platform
from importlib.metadata import PackageNotFoundError, metadata, version

import keras

import keras_explainable as ke

DISTRIBUTION = "keras-explainable"


def line(seed: int | None = None, command: str = "") -> str:
    """Return versions, seed, date and command, in a line."""
    backend = keras.backend.backend()
    parts = [
        f"keras-explainable {ke.__version__}",
        f"Keras {keras.__version__} on {backend} {_version(backend)}".rstrip(),
        f"Python {platform.python_version()}",
        *([] if seed is None else [f"seed {seed}"]),
        datetime.date.today().strftime("%-d %b %Y"),
        *([command] if command else []),
    ]
    return " · ".join(parts)


def _version(name: str) -> str:
    for distribution in (name, f"{name}-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return ""


def page_of(method: str) -> str:
    """Return the address of a method's documentation; nothing if the package is not installed or names none."""
    try:
        urls = metadata(DISTRIBUTION).get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    found = dict(url.split(", ", 1) for url in urls)
    return f"{found['Methods']}#ke{method}" if "Methods" in found else ""
