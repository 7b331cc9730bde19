"""A warm server on the demo network, a browser, and a context with cookies of its own for each test."""

import pytest

pytest.importorskip("playwright")
pytest.importorskip("starlette")
from playwright.sync_api import expect

from support.chromium import SECONDS, Tab, executable
from support.web_server import running, within

expect.set_options(timeout=20 * SECONDS)  # a busy machine is slow


@pytest.fixture(scope="session")
def server():
    with running(warm=True) as found:
        assert within(300, lambda: not found.room.preparing)
        yield found


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    place = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def context(chromium, server):
    found = chromium.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    origin = server.url.split("/?")[0]
    found.grant_permissions(["clipboard-read", "clipboard-write"], origin=origin)
    yield found
    found.close()


@pytest.fixture
def tab(context, server):
    """A page that said nothing in its console by the end of the test."""
    found = Tab(context, server.url)
    yield found
    assert found.errors == []
