"""The server of the page: who may ask, what a request can name, and how much it can bring."""

import builtins
import contextlib
import http.client
import io
import json
import re
import socket
import threading
from importlib.resources import files

import pytest
from PIL import Image

import keras_explainable as ke

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
from keras_explainable.web import guard, server, uploads
from keras_explainable.web.lanes import LONG, SYSTEM, Job
from keras_explainable.web.routes import statics
from support.selection import fast_on_torch
from support.web_server import Browser, running, within

pytestmark = [fast_on_torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ADDRESSES = [
    ("GET", "/"),
    ("GET", "/app.js"),
    ("GET", "/api/model"),
    ("GET", "/api/status"),
    ("GET", "/api/images/x"),
    ("GET", "/api/maps/x"),
    ("GET", "/api/thumbnails/0"),
    ("GET", f"/api/events/{'0' * 32}"),
    ("POST", "/api/images"),
    ("POST", "/api/samples/0"),
    ("POST", "/api/top"),
    ("POST", "/api/maps"),
    ("POST", "/api/report"),
    ("POST", "/api/arrays"),
    ("DELETE", "/api/jobs/x"),
    ("GET", "/nothing"),
]


@pytest.fixture(scope="module")
def server_():
    with running() as found:
        yield found


@pytest.fixture
def browser(server_):
    return Browser(server_)


def raw(port, text):
    """The answer to a request that is written by hand."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(text if isinstance(text, bytes) else text.encode())
        line.settimeout(5)
        found = b""
        try:
            while part := line.recv(65536):
                found += part
        except TimeoutError:
            pass
        return found


def test_it_listens_on_this_machine_only(server_):
    bound = server.bind("127.0.0.1", 0)
    assert bound.getsockname()[0] == "127.0.0.1"
    bound.close()
    assert server.serve.__defaults__[0] == "127.0.0.1"
    assert re.fullmatch(rf"http://127\.0\.0\.1:{server_.port}/\?token=[\w-]{{32}}", server_.url)


def test_another_host_is_warned_about(monkeypatch):
    said = []
    monkeypatch.setattr(server.asyncio, "run", lambda task: task.close())
    server.serve(ke.load(), "", "0.0.0.0", 0, False, said.append)
    assert said[0].startswith("Warning: --host 0.0.0.0") and "http://127.0.0.1" in said[1]
    said.clear()
    server.serve(ke.load(), "", "127.0.0.1", 0, False, said.append)
    assert len(said) == 1


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_nothing_is_answered_without_the_token(method, path, server_):
    stranger = Browser(server_, enter=False)
    assert stranger.ask(method, path)[0] == 403
    stranger.cookies = {f"token-{server_.port}": "x" * 32, f"session-{server_.port}": "0" * 32}
    assert stranger.ask(method, path)[0] == 403
    stranger.cookies = {f"token-{server_.port}": server_.guard.token}  # no session
    assert stranger.ask(method, path)[0] == 403
    stranger.cookies[f"session-{server_.port}"] = "../../etc/passwd"
    assert stranger.ask(method, path)[0] == 403
    assert stranger.headers["content-security-policy"] == POLICY


def test_a_wrong_token_opens_nothing(server_):
    stranger = Browser(server_, enter=False)
    for token in ("", "x", server_.guard.token[:-1], server_.guard.token + "x", "%ff%00", "\u00e9"):
        assert stranger.ask("GET", "/?token=" + token.encode("unicode_escape").decode())[0] == 403
    assert stranger.ask("POST", f"/?token={server_.guard.token}")[0] == 403
    assert stranger.ask("GET", f"/api/model?token={server_.guard.token}")[0] == 403


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(server_):
    line = http.client.HTTPConnection("127.0.0.1", server_.port, timeout=5)
    line.request("GET", f"/?token={server_.guard.token}")
    answer = line.getresponse()
    cookies = [value.lower() for key, value in answer.getheaders() if key == "set-cookie"]
    assert answer.status == 303 and answer.getheader("location") == "/"
    assert len(cookies) == 2 and all("httponly" in c and "samesite=strict" in c for c in cookies)
    assert sorted(c.partition("=")[0] for c in cookies) == [f"session-{server_.port}", f"token-{server_.port}"]


def test_a_second_tab_keeps_the_session(server_, browser):
    before = dict(browser.cookies)
    assert browser.ask("GET", f"/?token={server_.guard.token}")[0] == 303 and browser.cookies == before


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:80", "localhost", ""])
def test_another_host_is_refused_port_included(host, server_, browser):
    host = host.format(port=server_.port)
    assert browser.ask("GET", "/api/model", Host=host)[0] in ((400, 403) if not host else (403,))


def test_the_names_of_this_machine_are_accepted(server_, browser):
    assert browser.ask("GET", "/api/model", Host=f"localhost:{server_.port}")[0] == 200


def test_a_server_for_others_is_known_by_addresses_never_by_foreign_names():
    """A page elsewhere whose name leads here has a name of its own."""
    everywhere = guard.Guard(None, "0.0.0.0", 8765)
    assert everywhere._is_ours("192.168.1.7:8765") and everywhere._is_ours("[::1]:8765")
    assert everywhere._is_ours(f"{socket.gethostname()}:8765")
    assert not any(map(everywhere._is_ours, ("evil.example:8765", "192.168.1.7:80", "192.168.1.7", "8765")))


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "https://127.0.0.1:{port}", "http://127.0.0.1"]
)
@pytest.mark.parametrize(("method", "path"), [a for a in ADDRESSES if a[0] != "GET"])
def test_what_changes_something_must_come_from_our_page(method, path, origin, server_, browser):
    origin = origin and origin.format(port=server_.port)
    assert browser.ask(method, path, Origin=origin)[0] == 403


@pytest.mark.parametrize(
    ("method", "path"), [*ADDRESSES, ("PUT", "/api/images"), ("OPTIONS", "/api/model"), ("TRACE", "/")]
)
def test_every_answer_has_the_headers_and_none_shares_with_other_sites(method, path, server_, browser):
    if path.startswith("/api/events"):
        pytest.skip("a stream, which test_routes reads")
    status, _ = browser.ask(method, path)
    assert status < 500
    assert browser.headers["content-security-policy"] == POLICY
    assert (
        browser.headers["x-content-type-options"] == "nosniff" and browser.headers["referrer-policy"] == "no-referrer"
    )
    assert browser.headers["cross-origin-resource-policy"] == "same-origin"
    assert browser.headers["cache-control"] == "no-store" and "server" not in browser.headers
    assert not [name for name in browser.headers if name.startswith("access-control")]


def test_the_page_writes_text_never_html():
    """No script writes HTML, builds code from text, or loads anything from elsewhere."""
    for address, (content, kind) in statics().items():
        text = content.decode()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            address
        )
        assert not re.search(r"""(?:src|href|from|import)\s*[=(]?\s*["']https?:""", text), address
        assert kind != "text/html" or not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), address


def test_the_page_is_read_before_and_requests_name_no_file(server_, browser):
    names = {f.name for f in (files("keras_explainable.web") / "page").iterdir()}
    assert {"/" if name == "index.html" else f"/{name}" for name in names} <= set(statics())
    for path in (
        "/../server.py",
        "/page/../server.py",
        "/..%2f..%2fserver.py",
        "/viewer/../image.py",
        "/viewer/%2e%2e/image.py",
        "//etc/passwd",
        "/server.py",
        "/__init__.py",
        "/api/images/..%2f..%2f..%2fetc%2fpasswd",
        "/api/maps/%2e%2e",
        "/api/samples/../images/x",
        "/api/events/../../x",
        "/api/thumbnails/99999999999999999999999",
        "/api/thumbnails/-1",
    ):
        status, content = browser.ask("GET", path)
        assert status in (404, 405) and b"root:" not in content and b"import" not in content, path


WRONG = [
    "[]",
    "{",
    "",
    "null",
    "\x00",
    "[" * 5000,
    "1" * 6000,
    '{"image": 3, "method": "gradcam", "unit": 0}',
    '{"method": "gradcam", "unit": 0}',
    '{"image": "IMAGE", "method": "__import__", "unit": 0}',
    '{"image": "IMAGE", "method": "explain", "unit": 0}',
    '{"image": "IMAGE", "method": ["gradcam"], "unit": 0}',
    '{"image": "IMAGE", "method": "gradcam", "unit": "0"}',
    '{"image": "IMAGE", "method": "gradcam", "unit": true}',
    '{"image": "IMAGE", "method": "gradcam", "unit": -1}',
    '{"image": "IMAGE", "method": "gradcam", "unit": 1.5}',
    '{"image": "IMAGE", "method": "gradcam", "unit": NaN}',
    '{"image": "IMAGE", "method": "gradcam", "unit": 99999999999999999999}',
    '{"image": "IMAGE", "method": "gradcam", "unit": 0, "layer": "os.system"}',
    '{"image": "IMAGE", "method": "gradcam", "unit": 0, "layer": {"name": "x"}}',
    '{"image": "IMAGE", "method": "gradcam", "unit": 0, "against": 0}',
    '{"image": "IMAGE", "method": "rise", "unit": 0, "most": 1001}',
    '{"image": "IMAGE", "method": "rise", "unit": 0, "most": "all"}',
]


@pytest.mark.parametrize("text", WRONG)
def test_a_request_names_only_what_is_known(text, browser):
    image = browser.sample()
    status, content = browser.ask("POST", "/api/maps", text.replace("IMAGE", image))
    assert status in (400, 404) and json.loads(content)["why"]
    assert browser.ask("GET", "/api/status")[0] == 200


def test_a_layer_is_one_that_was_measured(server_, browser, monkeypatch):
    image = browser.sample()
    wanted = {"image": image, "method": "gradcam", "unit": 0, "layer": "conv2d"}
    monkeypatch.setattr(server_.room, "layers", {"another": [3, 3, 8]})
    assert browser.json("POST", "/api/maps", wanted)[0] == 400
    monkeypatch.setattr(server_.room, "layers", {"conv2d": [3, 3, 8]})
    assert browser.json("POST", "/api/maps", wanted | {"method": "gradients"})[0] == 400  # it takes no layer


def test_there_is_no_way_to_give_a_model(server_):
    paths = {route.path for route in server_.guard.app.routes}
    assert {path for path in paths if "model" in path} == {"/api/model"}
    assert [sorted(r.methods) for r in server_.guard.app.routes if r.path == "/api/model"] == [["GET", "HEAD"]]


def test_a_body_is_counted_while_it_arrives(server_, browser):
    large = b"x" * (uploads.MOST_BYTES + 1)
    try:
        status, content = browser.ask("POST", "/api/images", large)
        assert status == 413 and b"20 MB" in content
    except (BrokenPipeError, ConnectionResetError):  # the answer came before all was sent
        pass
    start = (
        f"POST /api/images HTTP/1.1\r\nHost: 127.0.0.1:{server_.port}\r\nOrigin: http://127.0.0.1:{server_.port}\r\n"
        + "Cookie: "
        + "; ".join(f"{k}={v}" for k, v in browser.cookies.items())
        + "\r\n"
    )
    found = raw(server_.port, start + "Content-Length: 99999999999\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 413")
    found = raw(server_.port, start + f"Content-Length: {'9' * 4000}\r\n\r\n")
    assert found.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))
    line = socket.create_connection(("127.0.0.1", server_.port), timeout=10)
    line.sendall((start + "Transfer-Encoding: chunked\r\n\r\n").encode())
    sent = 0
    with pytest.raises(OSError):  # it hangs up
        while sent < 3 * uploads.MOST_BYTES:
            line.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
            sent += 0x100000
    line.close()
    assert sent < 2 * uploads.MOST_BYTES and browser.ask("GET", "/api/status")[0] == 200


def test_a_document_has_16_kilobytes_at_most(browser):
    assert browser.json("POST", "/api/maps", {"image": "x" * (17 << 10)})[0] == 413


def test_long_headers_are_refused(server_, browser):
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it hung up before all was sent
        assert browser.ask("GET", "/api/model", X="a" * 1_000_000)[0] in (400, 431)
    assert browser.ask("GET", "/api/status")[0] == 200


def test_a_session_has_60_jobs_at_most(server_):
    browser, go = Browser(server_), threading.Event()
    image = browser.sample()
    begun = threading.Event()
    server_.room.lanes.submit(Job(SYSTEM, ""), "held", LONG, lambda: begun.set() or go.wait(20) and {})
    assert begun.wait(5)
    try:
        asked = [
            browser.json("POST", "/api/maps", {"image": image, "method": "rise", "unit": 0, "most": n})
            for n in range(1, 62)
        ]
        assert [status for status, _ in asked] == [200] * 60 + [429] and "60 maps" in asked[-1][1]["why"]
        for _, found in asked[:60]:
            assert browser.ask("DELETE", f"/api/jobs/{found['job']}")[0] == 204
    finally:
        go.set()
    assert within(
        5, lambda: server_.room.pages.number(next(v for k, v in browser.cookies.items() if "session" in k)) == 0
    )


def test_others_see_neither_images_nor_maps_nor_jobs(server_, browser):
    other = Browser(server_)
    image = browser.sample(3)
    found = browser.explain(image)
    assert browser.ask("GET", f"/api/images/{image}")[0] == browser.ask("GET", f"/api/maps/{found['map']}")[0] == 200
    assert other.ask("GET", f"/api/images/{image}")[0] == 404
    assert other.ask("GET", f"/api/maps/{found['map']}")[0] == 404
    assert other.json("POST", "/api/maps", {"image": image, "method": "gradcam", "unit": 0})[0] == 404
    assert other.json("POST", "/api/top", {"image": image})[0] == 404
    card = {"image": image, "cards": [{"map": found["map"], "method": "gradcam"}]}
    assert other.json("POST", "/api/report", card)[0] == other.json("POST", "/api/arrays", card)[0] == 404
    job = browser.json("POST", "/api/maps", {"image": image, "method": "rise", "unit": 2, "most": 1000})[1]["job"]
    assert other.ask("DELETE", f"/api/jobs/{job}")[0] == 404
    assert browser.ask("DELETE", f"/api/jobs/{job}")[0] == 204
    other.page = browser.page  # a page of the same name is another page
    assert list(other.events(5)) == []


def test_nothing_is_written(server_, browser, tmp_path, monkeypatch):
    opened = []
    real = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda file, mode="r", *a, **k: opened.append((file, mode)) or real(file, mode, *a, **k)
    )
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    status, found = browser.ask("POST", "/api/images", buffer.getvalue())
    image = json.loads(found)["image"]
    shown = browser.explain(image)
    card = {"image": image, "cards": [{"map": shown["map"], "method": "gradcam"}]}
    assert (
        browser.ask("POST", "/api/report", json.dumps(card))[0]
        == browser.ask("POST", "/api/arrays", json.dumps(card))[0]
        == 200
    )
    assert status == 200 and [(f, m) for f, m in opened if set("wax+") & set(m)] == []
