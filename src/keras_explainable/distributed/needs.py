"""What a run needs that is not installed with the library."""

from importlib.util import find_spec

from keras_explainable.errors import BackendError

EXTRAS = {"ray": "distributed"}  # of `pip install`; all others are in `storage`


def check(*packages: str) -> None:
    """Raise if one of these packages is not installed."""
    for package in packages:
        if find_spec(package) is None:
            extra = EXTRAS.get(package, "storage")
            raise BackendError(f'This needs {package}, which is missing: pip install "keras-explainable[{extra}]"')
