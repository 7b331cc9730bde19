"""What requests bring: bodies of bounded size, and images that are decoded within limits."""

import asyncio
import io
import json
import threading
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from starlette.requests import Request

from keras_explainable import errors, viz
from keras_explainable.web.refusals import Refused

MOST_BYTES, MOST_JSON = 20 << 20, 16 << 10
MOST_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP")  # pillow's other readers run programs, or are rarely maintained
PATIENCE = 60  # seconds in which a body must arrive

_one_at_a_time = threading.Lock()  # decoding: a large image takes hundreds of megabytes


@dataclass(frozen=True)
class Photo:
    """An image as the model sees it: its pixels, the same as a PNG file, its name, and what was done to its size."""

    pixels: np.ndarray
    png: bytes
    name: str
    note: str

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return self.pixels.nbytes + len(self.png)


async def body(request: Request, most: int = MOST_BYTES) -> bytes:
    """The body of a request. It is counted while it arrives, whatever its header says."""
    large = Refused(f"More than {most >> 20} MB came, and at most that was expected: make the image smaller.", 413)
    if most < 1 << 20:
        large = Refused(f"More than {most >> 10} kB came, and at most that was expected.", 413)
    declared = request.headers.get("content-length", "0")
    if len(declared) > 12 or int(declared if declared.isdecimal() else 0) > most:
        raise large
    data = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                data += chunk
                if len(data) > most:
                    raise large
    except TimeoutError:
        raise Refused("The request did not arrive in time.", 408) from None
    return bytes(data)


async def document(request: Request) -> dict[str, Any]:
    """The JSON object in the body of a request."""
    data = await body(request, MOST_JSON)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Refused("This is no JSON.") from None
    if not isinstance(found, dict):
        raise Refused("A JSON object was expected.")
    return found


def decoded(data: bytes, size: tuple[int, int], fit: str) -> Photo:
    """The image in a file, upright and brought to the model's size (H, W)."""
    if not data:
        raise Refused("The file is empty: choose an image.")
    try:
        with _one_at_a_time:
            found = viz.image_files.decode_image(data, "This file", FORMATS, MOST_PIXELS, size)
            frame = viz.framing.framed(found.pixels, size, fit)
            turned = (found.pixels.shape[0] > found.pixels.shape[1]) != (found.shape[0] > found.shape[1])
            note = viz.framing.describe(found.shape[:: -1 if turned else 1], size, fit).partition(" (--")[0]
            return photo(viz.framing.resized(frame, size), note)
    except errors.ExplainError as error:
        raise Refused(errors.printable(error)) from None


def photo(pixels: np.ndarray, note: str) -> Photo:
    """An image that has the model's size. Its name is the hash of its pixels."""
    buffer = io.BytesIO()
    viz.image_files.pillow().Image.fromarray(pixels).save(buffer, "PNG")
    name = sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:32]
    return Photo(pixels, buffer.getvalue(), name, note)
