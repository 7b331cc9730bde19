"""The Sphinx extension of this site: it writes the generated pages, and converts links and docstrings."""

import posixpath
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docstrings
import links
import method_pages
import reference_pages

SHOWN: weakref.WeakSet[Any] = weakref.WeakSet()  # figures of tutorials that are in their pages


def write_pages(app: Any) -> None:
    """Write the pages that are generated from the registry, from modules, and from files outside of docs/."""
    docs = Path(app.srcdir)
    method_pages.write(docs, docs / links.METHODS)
    reference_pages.write(docs / "_made" / "reference")
    folder = docs / links.PROJECT
    folder.mkdir(parents=True, exist_ok=True)
    for path, page in links.FILES.items():
        source = (docs / path).read_text(encoding="utf-8")
        at = posixpath.dirname(path)
        (folder / f"{page}.md").write_text(links.in_site(source, at, links.PROJECT), encoding="utf-8")


def turn_links(app: Any, page: str, source: list[str]) -> None:
    """Convert the links of a page that is not generated, so that they lead to pages of the site."""
    if not page.startswith("_made/"):
        source[0] = links.in_site(source[0], posixpath.dirname(page))


def known_name(app: Any, env: Any, node: Any, text: Any) -> Any:
    """Resolve the short name of a class of this library, such as `InputError` in a docstring."""
    domain = env.get_domain("py")
    name = str(node.get("reftarget", "")).rpartition(".")[2]
    homes = [full for full in domain.objects if full.rpartition(".")[2] == name and name]
    if node.get("refdomain") != "py" or not homes:
        return None
    full = min(homes, key=len)
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, text)


def figures(block: Any, variables: dict[str, Any], gallery: dict[str, Any]) -> str:
    """Save the figure that a block of a tutorial ends with: sphinx-gallery itself finds only figures of pyplot."""
    from sphinx_gallery.scrapers import figure_rst

    drawn = variables["example_globals"].get("___")
    if not hasattr(drawn, "_repr_png_") or drawn in SHOWN:  # the name is kept until another block ends with a value
        return ""
    SHOWN.add(drawn)
    path: Iterator[str] = variables["image_path_iterator"]
    to = next(path)
    Path(to).write_bytes(drawn._repr_png_())
    return figure_rst([to], gallery["src_dir"])


def setup(app: Any) -> dict[str, Any]:
    """Register these functions with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")  # it defines the events below
    app.connect("builder-inited", write_pages, priority=100)  # before the tutorials, which link to these pages
    app.connect("source-read", turn_links)
    app.connect("autodoc-process-docstring", docstrings.process, priority=100)  # before Napoleon
    app.connect("autodoc-process-signature", docstrings.signature)
    app.connect("missing-reference", known_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
