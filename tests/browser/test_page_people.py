"""The page in Chromium: several people, streams, pages that are closed, and how much the page weighs."""

import time

import pytest

from support.chromium import SECONDS, Tab
from support.web_server import within

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.browser


def test_the_page_weighs_little(context, server):
    sizes = {}
    page = context.new_page()
    page.on("response", lambda r: sizes.update({r.url: len(r.body()) if r.status == 200 else 0}))
    page.goto(server.url)
    page.wait_for_selector("html[data-ready]")
    page.wait_for_load_state("networkidle")
    without = {url: size for url, size in sizes.items() if "thumbnails" not in url}
    assert sum(without.values()) < 100_000 and len(without) > 10
    assert all(url.removeprefix("blob:").startswith(server.url.split("/?")[0]) for url in sizes)


def test_a_stream_is_open_only_while_something_runs(tab, server):
    tab.tick("smoothgrad")
    tab.locator("#most").fill("13")  # which no other test asks for
    tab.locator("#most").press("Enter")
    tab.scene()
    assert within(3, lambda: not any(page.streams for page in server.room.pages.pages.values()))
    number = tab.asked("GET", "api/events")
    tab.wait_for_timeout(1500)
    assert tab.asked("GET", "api/events") == number > 0
    tab.tick("gradients")
    tab.done(4)
    assert tab.asked("GET", "api/events") <= number + 1


def test_seven_tabs_of_one_browser(context, server):
    """A browser opens six connections to a server."""
    tabs = [Tab(context, server.url) for _ in range(7)]
    for i, tab in enumerate(tabs):
        tab.scene(i)
        expect(tab.card("gradcam").locator(".kx-map")).to_be_visible()


def test_the_jobs_of_a_closed_page_end(context, server):
    tab = Tab(context, server.url)
    tab.scene()
    tab.locator("#most").fill("999")
    tab.locator("#most").press("Enter")
    tab.tick("rise")
    tab.tick("lime")
    expect(tab.card("rise")).to_have_class("busy")
    tab.page.close()
    start = time.monotonic()
    assert within(9, lambda: server.room.lanes.running["long"] is None and not server.room.lanes.waiting["long"])
    assert time.monotonic() - start < 9


def test_grad_cam_does_not_wait_for_the_rise_of_another(chromium, server):
    contexts = [chromium.new_context() for _ in range(4)]
    try:
        tabs = [Tab(context, server.url) for context in contexts]
        tabs[0].scene(1)
        tabs[0].locator("#most").fill("998")
        tabs[0].locator("#most").press("Enter")
        tabs[0].tick("rise")
        expect(tabs[0].card("rise").locator(".state")).to_contain_text("/", timeout=60 * SECONDS)
        for i, tab in enumerate(tabs[1:3]):
            tab.scene(5 + i)
        expect(tabs[0].card("rise")).to_have_class("busy")
        assert all(tab.errors == [] for tab in tabs)
    finally:
        for context in contexts:
            context.close()


def test_what_another_has_computed_is_there_at_once(chromium, server):
    contexts = [chromium.new_context() for _ in range(2)]
    try:
        first, second = (Tab(context, server.url) for context in contexts)
        first.scene(7)
        second.scene(7)
        expect(second.card("gradcam").locator(".state")).to_have_text("ready")
        assert second.asked("GET", "api/maps/") == 2
    finally:
        for context in contexts:
            context.close()


def test_the_end_of_the_server_is_said(chromium):
    from support.web_server import running

    context = chromium.new_context()
    try:
        with running() as other:
            tab = Tab(context, other.url)
            tab.scene()
        tab.locator("#samples button").nth(1).click()
        expect(tab.locator("#problem")).to_have_text("The server does not answer. Is it still running?")
    finally:
        context.close()
