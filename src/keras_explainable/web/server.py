"""Run the server: find a port, say the address, and end soon after Ctrl-C."""

import asyncio
import contextlib
import os
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn

from keras_explainable import errors
from keras_explainable.web.guard import LOCAL, Guard
from keras_explainable.web.room import Room
from keras_explainable.web.routes import Routes

PORT, TRIED = 8765, 50


def serve(
    loaded: Any,
    load: str,
    host: str = LOCAL[0],
    port: int = PORT,
    open_browser: bool = True,
    say: Callable[[str], Any] = print,
) -> None:
    """Serve the page of a model until Ctrl-C.

    Args:
        loaded: what `ke.load` returns.
        load: the line of Python that loads it, which the page shows.
        port: the first port to try; 0 is any.
    """
    bound = bind(host, port)
    room = Room(loaded)
    guard = Guard(Routes(room, load).application(), host, bound.getsockname()[1])
    if host not in LOCAL:
        say(
            f"Warning: --host {host} lets other machines reach this server. Whoever has the address below can use it, "
            "and it is sent unencrypted."
        )
    say(guard.url)
    if open_browser and _has_screen():
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(guard.url)
    asyncio.run(run(room, served(guard), bound))


def bind(host: str, port: int) -> socket.socket:
    """A socket on the port, or on the next one that is free.

    Raises:
        OutputError: no port is free, or there is no such host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, port + TRIED if port else 1):
        bound = socket.socket(family)
        try:
            if os.name == "posix":  # a port is free again at once after its server has ended
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, candidate))
            bound.listen(64)  # until then, another server could be given the same port
            return bound
        except (OSError, OverflowError) as error:
            bound.close()
            problem = error
    last = f" to {port + TRIED - 1}" if port else ""
    raise errors.OutputError(f"The server cannot listen at {host}, port {port}{last}: {problem}.")


def _has_screen() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def served(guard: Guard) -> uvicorn.Server:
    """The server of the application, with its limits."""
    return uvicorn.Server(
        uvicorn.Config(
            guard,
            log_level="error",
            lifespan="off",
            ws="none",
            server_header=False,
            limit_concurrency=64,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=32 << 10,
        )
    )


async def run(room: Room, server: uvicorn.Server, bound: socket.socket) -> None:
    """Serve until Ctrl-C."""
    async with looking_after(room):
        await server.serve(sockets=[bound])


@contextlib.asynccontextmanager
async def looking_after(room: Room) -> AsyncIterator[None]:
    """A scope in which the room's threads run, and in which it is looked after."""

    async def often() -> None:
        while True:
            await asyncio.sleep(0.25)
            room.look_after()

    room.start()
    task = asyncio.create_task(often())
    try:
        yield
    finally:
        task.cancel()
        room.close()
