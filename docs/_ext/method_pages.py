"""A page for each method, written from the registry, and the page that lists them by family. No method is run here: the
pictures and the measured numbers are those that `make docs` wrote."""

import inspect
import re
from pathlib import Path
from typing import Any

import build_methods_page
from links import TUTORIALS

import keras_explainable as ke

PANEL = (456, 0, 600, 144)  # the map in the middle of a picture of five panels
PEAK = re.compile(r"^### `ke\.(\w+)`$.*?peak on object (\d+%)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(.+?)` \| `(.+?)` \| (.+?) \|$", re.MULTILINE)
CALL = re.compile(r"\b([A-Z]\w+)\(")  # of a class of another library
MODEL = "model = ke.demo.load_model()  # or your own\nimages = ke.demo.load_scenes(2, seed=1)[0]"
SECTIONS = ("basics", "tasks", "trust", "from")  # of the tutorials, in their order
OTHERS = "others = ke.demo.load_scenes(8, seed=2)[0]  # or training images"
REGIONS = '# This method needs scikit-image: pip install "keras-explainable[regions]"'
MORE = {  # additional lines that a method needs, and arguments without which it is a different method
    "deep_shap": (OTHERS, ", baselines=others"),
    "expected_gradients": (OTHERS, ", baselines=others"),
    "gradient_shap": (OTHERS, ", baselines=others"),
    "xrai": (REGIONS, ""),
}


def write(docs: Path, folder: Path) -> None:
    """Write the pages, and the small pictures of the list, into a folder."""
    (folder / "cards").mkdir(parents=True, exist_ok=True)
    page = (docs / "methods.md").read_text(encoding="utf-8")
    peaks = dict(PEAK.findall(page))
    others = elsewhere((docs / "coming-from.md").read_text(encoding="utf-8"))
    uses = used_in(docs / "tutorials")
    for record in ke.methods.list():
        card(docs / "methods" / f"{record.name}.jpg", folder / "cards" / f"{record.name}.png")
        text = method_page(record, peaks[record.name], others.get(record.name, {}), uses.get(record.name, {}))
        (folder / f"{record.name}.md").write_text(text, encoding="utf-8")
    (folder / "index.md").write_text(list_page(page), encoding="utf-8")


def card(picture: Path, to: Path) -> None:
    """Cut one map out of a method's picture, and write it."""
    from PIL import Image

    with Image.open(picture) as strip:
        strip.crop(PANEL).save(to)


def first_parts(lines: list[str]) -> tuple[str, str, list[str]]:
    """Return a method's summary, its equation, and the other lines of its docstring.

    The equation is the second paragraph, with the list of rules that follows it if it ends with a colon."""
    blanks = [i for i, line in enumerate(lines) if not line.strip()] + [len(lines)] * 3
    end = blanks[2] if lines[blanks[1] - 1].endswith(":") else blanks[1]
    return "\n".join(lines[: blanks[0]]), "\n".join(lines[blanks[0] + 1 : end]), lines[end + 1 :]


def elsewhere(page: str) -> dict[str, dict[str, list[str]]]:
    """Return how other libraries call each method: {method: {library: names}}, read from docs/coming-from.md."""
    found: dict[str, dict[str, list[str]]] = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[2:]:
        library = section.partition("\n")[0]
        for there, here, _ in ROW.findall(section):
            method = re.match(r"(?:sum\()?ke\.(?:explain\(\"(\w+)\"|(\w+)\()", here)
            name = CALL.search(there)
            known = method and (method[1] or method[2])
            if name and known in ke.registry.METHODS:
                names = found.setdefault(known, {}).setdefault(library, [])
                if name[1] not in names:
                    names.append(name[1])
    return found


def used_in(tutorials: Path) -> dict[str, dict[str, str]]:
    """Return the tutorials that run each method: {method: {page: title}}."""
    found: dict[str, dict[str, str]] = {}
    for path in (path for section in SECTIONS for path in sorted((tutorials / section).glob("*.py"))):
        text = path.read_text(encoding="utf-8")
        title = text.split("\n")[1].strip()
        page = path.relative_to(tutorials).with_suffix("").as_posix()
        for name in ke.registry.METHODS:
            if re.search(rf"\bke\.{name}\(|\"{name}\"", text):
                found.setdefault(name, {})[page] = title
    return found


def lines_to_copy(record: Any) -> str:
    """Return a program that explains two scenes by a method and shows the maps."""
    more, given = MORE.get(record.name, ("", ""))
    attends = ke.registry.Need.ATTENTION in record.needs
    lines = [
        "import keras_explainable as ke\n",
        MODEL.replace("load_model", "load_transformer") if attends else MODEL,
        more,
        f'scores, maps = ke.{record.name}(model, images, "predicted"{given})',
        "ke.utils.visualize(images, overlays=maps)",
    ]
    return "\n".join(line for line in lines if line)


def method_page(record: Any, peak: str, others: dict[str, list[str]], uses: dict[str, str]) -> str:
    """Return the page of a method in Markdown."""
    summary, equation, _ = first_parts(inspect.cleandoc(record.function.__doc__ or "").split("\n"))
    caveat = f":::{{warning}}\n{record.caveat}\n:::\n" if record.caveat else ""
    parts = [
        f"# `ke.{record.name}`\n",
        f"{summary}\n",
        f"```{{code-block}} text\n:class: equation\n\n{equation}\n```\n",
        caveat,
        f"```{{image}} ../../methods/{record.name}.jpg\n:alt: Two scenes, and maps of three of their objects\n```\n",
        facts(record, peak, others),
        f"## Example\n\n```python\n{lines_to_copy(record)}\n```\n",
        "## Definition and arguments\n",
        f"```{{eval-rst}}\n.. autofunction:: keras_explainable.{record.name}\n```\n",
    ]
    if uses:
        links = "\n".join(f"- [{title}]({relative(page)})" for page, title in uses.items())
        parts.append(f"## Tutorials that use it\n\n{links}\n")
    return "\n".join(part for part in parts if part)


def facts(record: Any, peak: str, others: dict[str, list[str]]) -> str:
    """Return the table of facts about a method."""
    named = "; ".join(f"{library}: {', '.join(f'`{name}`' for name in names)}" for library, names in others.items())
    rows = {
        "family": f"[{record.heading}](index.md#{anchor(record.heading)})",
        "needs": record.needed,
        "cost": f"`{record.cost}` ([what the letters mean](index.md#methods))",
        "peak on object": f"{peak} of the maps ([what is measured](index.md#methods))",
        "paper": build_methods_page.link(record.reference),
        "in other libraries": named and f"{named} ([line by line](../../coming-from.md))",
    }
    lines = "\n".join(f"* - {name}\n  - {value}" for name, value in rows.items() if value)
    return f"```{{list-table}}\n:widths: 25 75\n:class: facts\n\n{lines}\n```\n"


def relative(tutorial: str) -> str:
    """Return the link from a method's page to a tutorial."""
    return f"../{Path(TUTORIALS).name}/{tutorial}.rst"


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as Markdown makes it."""
    return heading.lower().replace(" ", "-")


def list_page(page: str) -> str:
    """Return the page that lists all methods, with the explanation of its numbers in docs/methods.md."""
    head = page.partition("\n## ")[0].partition("\n| family")[0]
    head = head.replace("Written from the registry by `make docs`.\n", "")
    head = re.sub(r"\(#ke(\w+)\)", r"(\1.md)", head)
    parts = [re.sub(r"\((leaderboard|choose)\.md\)", r"(../../\1.md)", head), ""]
    for heading, records in build_methods_page.by_family():
        cards = "\n".join(_card(record) for record in records)
        names = "\n".join(record.name for record in records)
        parts += [f"## {heading}\n", f"::::{{grid}} 2 2 3 4\n:gutter: 2\n\n{cards}\n::::\n"]
        parts += [f"```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{names}\n```\n"]
    return "\n".join(parts)


def _card(record: Any) -> str:
    summary = record.summary + (f" **{record.caveat}**" if record.caveat else "")
    return (
        f":::{{grid-item-card}} `{record.name}`\n:link: {record.name}\n:link-type: doc\n"
        f":img-top: cards/{record.name}.png\n:img-alt: A map by {record.name}\n\n{summary}\n:::"
    )
