"""Who may ask: the host, the origin and the token of a request are judged before anything else sees it."""

import ipaddress
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse

LOCAL = ("127.0.0.1", "localhost")
READS = ("GET", "HEAD")
SESSION = re.compile("[0-9a-f]{32}")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard:
    """An ASGI application around another one, which sees only requests of a browser that was given the token.

    Cookies do not know ports, so their names do: two servers on one machine do not get each other's."""

    def __init__(self, app: Any, host: str, port: int) -> None:
        self.app, self.host, self.port = app, host, port
        self.token = secrets.token_urlsafe(24)
        self.token_cookie, self.session_cookie = f"token-{port}", f"session-{port}"

    @property
    def url(self) -> str:
        """The address that lets a browser in."""
        host = LOCAL[0] if _is_any(self.host) else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/?token={self.token}"

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # a web socket
            return None

        async def headed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = [(k, v) for k, v in message.get("headers", []) if k.decode("latin-1").lower() not in HEADERS]
                message["headers"] = [*given, *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        request = Request(scope)
        return await (self._answer(request) or self.app)(scope, receive, headed)

    def _answer(self, request: Request) -> Any:
        """The answer to a request that the application does not see; None if it may."""
        why = self._refusal(request)
        if why:
            return _refused(why)
        session = request.cookies.get(self.session_cookie, "")
        if self._opens(request):
            return self._welcome(session)
        if not (_same(request.cookies.get(self.token_cookie, ""), self.token) and SESSION.fullmatch(session)):
            return _refused("Open the address that the terminal shows.")
        request.scope.setdefault("state", {})["session"] = session
        return None

    def _refusal(self, request: Request) -> str:
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            return "This server is not known by this name."
        if request.method not in READS and request.headers.get("origin") != f"http://{host}":
            return "This request comes from another page."
        return ""

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this server, port included. A page elsewhere whose name leads here (DNS
        rebinding) has a name of its own, never an address."""
        name, _, port = host.rpartition(":")
        if port != str(self.port):
            return False
        if name in (*LOCAL, self.host):
            return True
        return _is_any(self.host) and (_is_address(name.strip("[]")) or name == socket.gethostname())

    def _opens(self, request: Request) -> bool:
        given = request.query_params.get("token", "")
        return request.method == "GET" and request.url.path == "/" and _same(given, self.token)

    def _welcome(self, session: str) -> RedirectResponse:
        answer = RedirectResponse("/", 303)
        session = session if SESSION.fullmatch(session) else secrets.token_hex(16)
        for name, value in ((self.token_cookie, self.token), (self.session_cookie, session)):
            answer.set_cookie(name, value, httponly=True, samesite="strict")
        return answer


def _refused(why: str) -> PlainTextResponse:
    return PlainTextResponse(why, 403, {"connection": "close"})  # a body is not read


def _same(given: str, known: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), known.encode())


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::")


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False
