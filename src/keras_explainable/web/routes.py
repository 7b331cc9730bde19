"""The addresses of the server. None names a file: what the page consists of was read into a dictionary before."""

import asyncio
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import keras
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import keras_explainable as ke
from keras_explainable import errors, registry, viz
from keras_explainable.web import exports, uploads, work
from keras_explainable.web.refusals import Refused
from keras_explainable.web.room import SEED, Room

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PAGE = re.compile("[0-9a-f]{32}")


def statics() -> dict[str, tuple[bytes, str]]:
    """What the page consists of, by address: its content and kind."""
    found = {}
    for folder, prefix in ((files(__package__) / "page", "/"), (files(viz.__name__) / "viewer", "/viewer/")):
        for file in folder.iterdir():
            kind = KINDS.get("." + file.name.rpartition(".")[2])
            if kind:
                found[prefix + file.name] = (file.read_bytes(), kind)
    found["/"] = found.pop("/index.html")
    found["/favicon.ico"] = found["/icon.svg"]  # which browsers ask for by themselves
    return found


class Routes:
    """The answers to all requests."""

    def __init__(self, room: Room, load: str) -> None:
        self.room, self.load = room, load

    def application(self) -> Starlette:
        """The ASGI application."""
        paths: dict[str, tuple[Callable, str]] = {
            "/api/model": (self.model, "GET"),
            "/api/status": (self.status, "GET"),
            "/api/images": (self.upload, "POST"),
            "/api/images/{name}": (self.image, "GET"),
            "/api/samples/{n:int}": (self.take_sample, "POST"),
            "/api/thumbnails/{n:int}": (self.thumbnail, "GET"),
            "/api/top": (self.top, "POST"),
            "/api/maps": (self.explain, "POST"),
            "/api/maps/{name}": (self.values, "GET"),
            "/api/jobs/{name}": (self.stop, "DELETE"),
            "/api/events/{page}": (self.events, "GET"),
            "/api/report": (self.report, "POST"),
            "/api/arrays": (self.arrays, "POST"),
        }
        routes = [Route(path, answer, methods=[method]) for path, (answer, method) in paths.items()]
        routes += [Route(path, _static(*content), methods=["GET"]) for path, content in statics().items()]
        handlers: Any = {Refused: _refused, errors.ExplainError: _refused}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def model(self, request: Request) -> Response:
        """What is known about the model and the methods from the start."""
        loaded = self.room.loaded
        methods = [
            {
                "name": r.name,
                "family": r.heading,
                "summary": r.summary,
                "needs": r.needed,
                "cost": str(r.cost),
                "caveat": r.caveat,
                "reference": r.reference,
                "layer": registry.takes(r.function, "layer"),
                "fewer": work.repeating(r.name),
            }
            for r in ke.methods.list()
        ]
        about = {
            "name": getattr(loaded.model, "name", type(loaded.model).__name__),
            "backend": keras.backend.backend(),
            "size": loaded.size,
            "fit": loaded.preprocess.fit,
            "guessed": loaded.preprocess.name if loaded.preprocess.guessed else "",
            "load": self.load,
            "names": loaded.class_names,
            "methods": methods,
            "samples": self.room.sample_names,
            "seed": SEED,
            "colors": viz.viewer_files.colors(),
            "version": ke.__version__,
        }
        return JSONResponse(about)

    async def status(self, request: Request) -> Response:
        """What is being prepared, and what was found out meanwhile."""
        room = self.room
        layers = None if room.layers is None else [{"path": p, "shape": s} for p, s in room.layers.items()]
        return JSONResponse({"preparing": sorted(set(room.preparing)), "layers": layers, "unmet": room.unmet})

    async def upload(self, request: Request) -> Response:
        """Take an image."""
        data = await uploads.body(request)
        fit = self.room.loaded.preprocess.fit
        image = await asyncio.to_thread(uploads.decoded, data, self.room.loaded.size, fit)
        return self._kept(request, image)

    async def take_sample(self, request: Request) -> Response:
        """Take an embedded scene as an image."""
        return self._kept(request, self._sample(request))

    async def thumbnail(self, request: Request) -> Response:
        """An embedded scene."""
        return Response(self._sample(request).png, media_type="image/png")

    def _sample(self, request: Request) -> uploads.Photo:
        n = request.path_params["n"]
        if n >= len(self.room.samples):
            raise Refused("There is no such scene.", 404)
        return self.room.samples[n]

    def _kept(self, request: Request, image: uploads.Photo) -> Response:
        self.room.keep(request.state.session, image)
        return JSONResponse({"image": image.name, "note": image.note})

    async def image(self, request: Request) -> Response:
        """An image as the model sees it."""
        found = self.room.image(request.state.session, request.path_params["name"])
        return Response(found.png, media_type="image/png")

    async def top(self, request: Request) -> Response:
        """The top classes of an image, or the job that finds them."""
        given = await uploads.document(request)
        name = given.get("image")
        if not isinstance(name, str):
            raise Refused("An image was expected.")
        return JSONResponse(self.room.ask_top(request.state.session, _page(request), name))

    async def explain(self, request: Request) -> Response:
        """A map, or the job that computes it."""
        asked = work.Asked.of(await uploads.document(request), self.room.layers or ())
        return JSONResponse(self.room.ask_map(request.state.session, _page(request), asked))

    async def values(self, request: Request) -> Response:
        """A map as float32 values, row by row."""
        found = self.room.values(request.state.session, request.path_params["name"])
        return Response(found.tobytes(), media_type="application/octet-stream")

    async def stop(self, request: Request) -> Response:
        """Stop a job."""
        self.room.stop(request.state.session, request.path_params["name"])
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        """The events of the jobs of a page."""
        name = request.path_params["page"]
        if not PAGE.fullmatch(name):
            raise Refused("There is no such page.", 404)
        return StreamingResponse(self.room.pages.stream(request.state.session, name), media_type="text/event-stream")

    async def report(self, request: Request) -> Response:
        """The maps that are shown, in one HTML file."""
        return await self._export(request, exports.report, "text/html", "report.html")

    async def arrays(self, request: Request) -> Response:
        """The maps that are shown, as NumPy arrays."""
        return await self._export(request, exports.arrays, "application/octet-stream", "maps.npz")

    async def _export(self, request: Request, make: Callable, kind: str, name: str) -> Response:
        shown = exports.Shown.of(await uploads.document(request), self.room, request.state.session)
        made = await asyncio.to_thread(make, shown, self.room)
        # A download, never a page of this origin.
        return Response(made, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


def _static(content: bytes, kind: str) -> Callable:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _page(request: Request) -> str:
    name = request.headers.get("x-page", "")
    if not PAGE.fullmatch(name):
        raise Refused("A page with a name was expected.")
    return name


async def _refused(request: Request, error: Exception) -> Response:
    status = getattr(error, "status", 400)
    close = {"connection": "close"} if status in (408, 413) else None  # the rest of the body is not read
    return JSONResponse({"why": str(error)}, status, close)
