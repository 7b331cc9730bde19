"""Links between pages. In the sources they lead to files, so that they also work on GitHub; in the site, to pages."""

import posixpath
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1`*$", re.MULTILINE | re.DOTALL)
METHODS = "_made/methods"  # folders of generated pages, below docs/
TUTORIALS = "_made/tutorials"
PROJECT = "_made/project"
FILES = {  # files outside of docs/: their pages in the site
    "../CHANGELOG.md": "changelog",
    "../CONTRIBUTING.md": "contributing",
    "../SECURITY.md": "security",
    "../bench/README.md": "bench",
    "../bench/RESULTS.md": "results",
    "../bench/NOTES.md": "notes",
}


def page_of(path: str, anchor: str) -> str:
    """Return the page of the site, relative to docs/, that shows a file of the repository."""
    if path in FILES:
        return f"{PROJECT}/{FILES[path]}.md"
    if path in ("../README.md", "methods.md"):
        method = anchor.removeprefix("ke")
        if path == "../README.md":
            return "index.md"
        if anchor.startswith("ke") and method:
            return f"{METHODS}/{method}.md"
        return f"{METHODS}/index.md" + (f"#{anchor}" if anchor else "")
    if path.startswith("tutorials"):
        return TUTORIALS + path.removeprefix("tutorials").removesuffix(".py") + (".rst" if path.endswith(".py") else "")
    return path + (f"#{anchor}" if anchor else "")


def in_site(source: str, at: str, now: str | None = None) -> str:
    """Return a Markdown page with links that work in the site.

    Args:
        source: the text.
        at: the folder of its file, relative to docs/.
        now: the folder of the page in the site, if it differs from `at`.
    """
    now = at if now is None else now
    return _outside_of_fences(source, lambda text: LINK.sub(lambda link: _target(link[1], at, now), text))


def _target(link: str, at: str, now: str) -> str:
    if urlsplit(link).scheme or link.startswith("#"):
        return link
    path, _, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(at, path)).removeprefix("../docs/")
    page, _, anchor = page_of(target, anchor).partition("#")
    return posixpath.relpath(page, now or ".") + (f"#{anchor}" if anchor else "")


def _outside_of_fences(source: str, change: Callable[[str], str]) -> str:
    parts, last = [], 0
    for fence in FENCE.finditer(source):
        parts += [change(source[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, change(source[last:])])


def links_of(source: str) -> list[str]:
    """Return the targets of the links in a Markdown text that lead to files of the repository."""
    found: list[str] = []
    _outside_of_fences(source, lambda text: found.extend(LINK.findall(text)) or text)
    return [link for link in found if not urlsplit(link).scheme]


def pages_of(site: Path) -> list[Path]:
    """Return the pages of a built site, without the templates of its theme."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts]


class _Page(HTMLParser):
    """The links of a page, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            if name in ("id", "name") and value:
                self.anchors.add(value)


def broken(site: Path) -> list[str]:
    """Return the broken internal links of a built site, each with its page."""
    pages = {path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in pages_of(site)}
    found = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].anchors if target in pages else {parts.fragment}
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                found.append(f"{path.relative_to(site.resolve())}: {link}")
    return found


def foreign(site: Path) -> list[str]:
    """Return what pages of a built site load from other hosts."""
    loaded = re.compile(
        r"<(?:script|img|iframe|source)[^>]+src=\"((?:https?:)?//[^\"]+)|<link[^>]+href=\"(https?://[^\"]+)"
    )
    texts = ((path, path.read_text(encoding="utf-8")) for path in pages_of(site))
    return [f"{path.relative_to(site)}: {one[1] or one[2]}" for path, text in texts for one in loaded.finditer(text)]
