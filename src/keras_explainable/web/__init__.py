"""The page in the browser: `keras-explainable web`. Starlette and uvicorn are imported only when it runs."""

from typing import Any


def serve(loaded: Any, load: str, *options: Any) -> None:
    """Serve the page until Ctrl-C (see `web.server.serve`)."""
    from keras_explainable.web import server

    server.serve(loaded, load, *options)
