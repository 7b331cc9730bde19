"""A page in one HTML file: what all reports share, such as tables that can be sorted, around what is of one of them."""

import base64
import html
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import Any

from keras_explainable.errors import printable
from keras_explainable.viz import viewer_files


def page(name: str, parts: Mapping[str, str]) -> str:
    """Return the page `name`.html inside of page.html, with `parts`, which are HTML: "title", and those it names.

    A page with `${methods_table}` names the `heads` of its columns and its rows, as `table`. One with
    `${viewer_script}` has the scripts of the viewer in its own.

    The Content-Security-Policy lets the browser run the page's script and no other, and load nothing."""
    own = _file(name).replace("${methods_table}\n", _file("methods_table"))
    template = _file("page").replace("${body}", re.sub(r"<(style|script)>.*?</\1>\n", "", own, flags=re.DOTALL))
    for tag in ("style", "script"):
        template = template.replace(f"${{{tag}}}", _inside(tag, own))
    viewer = {"script": viewer_files.script(), "style": viewer_files.style()}
    for tag, text in viewer.items():
        template = template.replace(f"${{viewer_{tag}}}", text.replace("$", "$$"))
    script = _inside("script", template).replace("$$", "$").encode()
    digest = "sha256-" + base64.b64encode(sha256(b"\n" + script).digest()).decode()
    return Template(template).substitute(parts, script_hash=digest)


def column_head(name: str, kind: str = "", notes: str = "") -> str:
    """Return the head of a column of the methods' table. `kind` is "number", and "low" if lower numbers are better."""
    classes = f' class="{kind}"' if kind else ""
    return f'<th scope="col"{classes}><button type="button">{escape(name)}</button>{notes}</th>'


def escape(text: object) -> str:
    """Escape foreign text, such as the name of a file, so that HTML shows it as it is."""
    return html.escape(printable(text))


def to_json(value: Any) -> str:
    """Return JSON that cannot end the script it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _file(name: str) -> str:
    return Path(__file__).with_name(f"{name}.html").read_text(encoding="utf-8")


def _inside(tag: str, text: str) -> str:
    """What stands between the lines of a tag that is there once; nothing if it is not there."""
    found = re.findall(rf"<{tag}>\n(.*?)</{tag}>", text, re.DOTALL)
    return found[0] if found else ""
