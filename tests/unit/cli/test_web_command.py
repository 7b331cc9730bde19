"""`keras-explainable web`: one address, the next port if one is taken, and an end soon after Ctrl-C."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
from keras_explainable.cli import web_command
from keras_explainable.web import server
from support.selection import BACKEND, fast_on_torch

pytestmark = fast_on_torch
SRC = str(Path(__file__).resolve().parents[3] / "src")


def started(*words):
    command = [sys.executable, "-m", "keras_explainable.cli", "web", "--no-open", *words]
    env = os.environ | {"KERAS_BACKEND": BACKEND, "PYTHONPATH": SRC, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_it_prints_one_address_and_ends_after_ctrl_c():
    process = started("--port", "0")
    try:
        url = process.stdout.readline().strip()
        host, _, token = url.removeprefix("http://").partition("/")
        line = http.client.HTTPConnection(host, timeout=20)
        line.request("GET", f"/{token}")
        assert line.getresponse().status == 303
        time.sleep(1)  # something is being prepared
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert time.monotonic() - start < 2 + 3 * (os.getloadavg()[0] > 2)
        assert out == "" and "Traceback" not in err and "embedded network" in err
        assert process.returncode in (0, 130)
    finally:
        process.kill()
        process.wait()


def test_a_port_that_is_taken_is_followed_by_the_next():
    first = server.bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    second = server.bind("127.0.0.1", port)
    assert port < second.getsockname()[1] < port + server.TRIED
    first.close()
    second.close()


def test_a_host_that_is_not_here_is_refused():
    with pytest.raises(OSError, match="cannot listen at 203.0.113.1, port 8765"):
        server.bind("203.0.113.1", 8765)


def test_the_browser_is_opened_if_there_is_a_screen(monkeypatch):
    import keras_explainable as ke

    opened = []
    monkeypatch.setattr(server.asyncio, "run", lambda task: task.close())
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    said = []
    server.serve(ke.load(), "", port=0, say=said.append)
    assert opened == said and len(said) == 1
    server.serve(ke.load(), "", port=0, open_browser=False, say=said.append)
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ((None, "imagenet", None, None, False), "ke.load()"),
        (("MobileNetV2", "none", None, None, False), "ke.load('MobileNetV2', weights=None)"),
        (("my.keras", "imagenet", "tf", "32", True), "ke.load('my.keras', safe_mode=False, scale='tf', size=(32, 32))"),
    ],
)
def test_the_line_loads_the_same_model(given, line):
    class Loaded:
        size = (32, 32)

    assert web_command._line(Loaded, *given) == line


def test_the_socket_is_not_shared():
    bound = server.bind("127.0.0.1", 0)
    with socket.socket() as other, pytest.raises(OSError):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(bound.getsockname())
    bound.close()
