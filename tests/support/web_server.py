"""A server of the page in this process, and a browser without a window, or with nothing but HTTP."""

import asyncio
import contextlib
import http.client
import json
import secrets
import threading
import time

import keras_explainable as ke
from keras_explainable.web import room as rooms
from keras_explainable.web import server
from keras_explainable.web.guard import LOCAL, Guard
from keras_explainable.web.routes import Routes

SOON = 60  # seconds in which a map of the demo network must be there, on a busy machine


class Running:
    """A server on a free port, in a thread of its own."""

    def __init__(self, loaded, load="ke.load()", warm=False):
        self.room = rooms.Room(loaded)
        if not warm:
            self.room._prepare = lambda *given: None
        bound = server.bind(LOCAL[0], 0)
        self.port = bound.getsockname()[1]
        self.guard = Guard(Routes(self.room, load).application(), LOCAL[0], self.port)
        self.server = server.served(self.guard)
        work = server.run(self.room, self.server, bound)
        self.thread = threading.Thread(target=asyncio.run, args=(work,), daemon=True)
        self.thread.start()
        assert within(SOON, lambda: self.server.started)  # what is prepared is known from then on

    def close(self):
        self.server.should_exit = True
        self.thread.join(10)

    @property
    def url(self):
        return self.guard.url


@contextlib.contextmanager
def running(loaded=None, **options):
    found = Running(loaded or ke.load(), **options)
    try:
        yield found
    finally:
        found.close()


class Browser:
    """A browser with cookies and a page, and no more. `ask` returns the status and the content."""

    def __init__(self, running, enter=True):
        self.port, self.page, self.cookies = running.port, secrets.token_hex(16), {}
        self.headers = {}
        if enter:
            status, _ = self.ask("GET", f"/?token={running.guard.token}")
            assert status == 303

    def ask(self, method, path, body=None, headers=None, **changed):
        host = f"127.0.0.1:{self.port}"
        sent = {"Host": host, "Origin": f"http://{host}", "X-Page": self.page}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        sent |= {name.replace("_", "-"): value for name, value in (headers or {}).items()} | changed
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON)
        try:
            line.request(method, path, body, {k: v for k, v in sent.items() if v is not None})
            answer = line.getresponse()
            content = answer.read()
        finally:
            line.close()
        self.headers = {k.lower(): v for k, v in answer.getheaders()}
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        return answer.status, content

    def json(self, method, path, document=None, **options):
        body = None if document is None else json.dumps(document)
        status, content = self.ask(method, path, body, **options)
        return status, json.loads(content or b"null")

    def events(self, seconds=SOON):
        """The events of this page, until nothing of it is under way."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        cookies = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        try:
            line.request("GET", f"/api/events/{self.page}", headers={"Cookie": cookies})
            answer = line.getresponse()
            assert answer.status == 200
            for row in answer:
                if row.startswith(b"event: idle"):
                    return
                if row.startswith(b"data: {"):
                    yield json.loads(row[6:])
        finally:
            line.close()

    def sample(self, n=0):
        """The name of an embedded scene as an image of this session."""
        return self.json("POST", f"/api/samples/{n}")[1]["image"]

    def explain(self, image, method="gradcam", unit=0, **more):
        """The last event of a map, or the map if it is there."""
        status, found = self.json("POST", "/api/maps", {"image": image, "method": method, "unit": unit, **more})
        assert status == 200, found
        return found if "map" in found else [e for e in self.events() if e["job"] == found["job"]][-1]


def within(seconds, condition):
    """Whether a condition holds before the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
