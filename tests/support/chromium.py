"""Chromium without a window, on a page of a server in this process."""

import os
import shutil
from pathlib import Path

import pytest

SECONDS = 1000  # milliseconds
PLACES = ("chromium", "chromium-browser", "google-chrome")


def executable():
    """Chromium of this machine; the test is skipped without it."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PLACES)), None)
    if not found or not Path(found).exists():
        pytest.skip("Chromium is not installed: apt-get install chromium, or set CHROMIUM=/path/to/chromium")
    return found


class Tab:
    """A page with what it asked for and what its console says."""

    def __init__(self, context, url):
        self.page, self.requests, self.errors = context.new_page(), [], []
        self.page.set_default_timeout(20 * SECONDS)
        self.page.on("request", self._asked)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector("html[data-ready]")

    def _asked(self, request):
        if request.url.startswith("http"):
            self.requests.append((request.method, request.url.split("/", 3)[3]))

    def _heard(self, line):
        if line.type in ("error", "warning") and "willReadFrequently" not in line.text:  # tests read canvases
            self.errors.append(line.text)

    def __getattr__(self, name):
        return getattr(self.page, name)

    def asked(self, method, path):
        """How often this was asked for."""
        return sum(m == method and p.startswith(path) for m, p in self.requests)

    def scene(self, n=2):
        """Take an embedded scene, and wait for all maps."""
        self.page.locator("#samples button").nth(n).click()
        self.done()

    def card(self, method, layer=""):
        return self.page.locator(f'article[data-method="{method}"][data-layer="{layer}"]')

    def tick(self, method):
        self.page.locator(".method", has=self.page.locator(f'.name:text-is("{method}")')).locator("input").click()

    def method(self, name):
        return self.page.locator(".method", has=self.page.locator(f'.name:text-is("{name}")'))

    def done(self, number=None):
        """Wait until the cards are there, and nothing is computed."""
        from playwright.sync_api import expect

        cards = self.page.locator("article")
        expect(cards.first).to_be_visible()
        if number is not None:
            expect(cards).to_have_count(number)
        expect(self.page.locator("article.busy")).to_have_count(0, timeout=120 * SECONDS)
        expect(self.page.locator("article .kx-stage.kx-empty")).to_have_count(0)
