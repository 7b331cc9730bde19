"""Write docs/zoo.md: which methods work with which architecture, and which signal is chosen."""

import re
from collections import Counter, defaultdict

from zoo.worker import SOURCES

FAMILIES = {
    "Grad-CAM": ("gradcam", "layercam", "eigencam", "scorecam"),
    "gradients": ("gradients", "integrated_gradients"),
    "full gradients": ("full_gradients", "decomposition"),
    "occlusion": ("occlusion",),
    "guided": ("guided_backprop",),
    "LRP": ("lrp_epsilon_plus",),
    "DeepLIFT": ("deeplift",),
    "AttnLRP": ("attnlrp",),
    "rollout": ("attention_rollout",),
    "relevance": ("attention_relevance",),
}
WORSE = ("right", "ran", "not reached", "too long", "warned", "refused", "wrong", "crash")
SAID = {
    "right": "yes",
    "ran": "yes",
    "refused": "no",
    "warned": "warned",
    "wrong": "WRONG",
    "crash": "CRASH",
    "not reached": "-",
    "too long": "slow",
}
LONG = 90  # the largest number of characters of a reason
HEAD = """# Does it work with my model?

{models} architectures, each explained by a method of each family. Written by `make zoo`.

- **yes**: it works.
- **no** with a number: it raises an error. The numbered list below has the start of the error message.
- **warned**: it runs, but the result is useless (NaN, constant, or it does not add up), and a warning says so.
- **WRONG** or **CRASH**: a bug in this library, also listed below.
- **slow** or **-**: there was no result within the time limit.

Each architecture has random weights and two random images, at a small size and often with fewer blocks. Nothing is
downloaded. Scores, gradients and signals are checked against a second computation, with hooks and the
framework's own differentiation:

- Gradients must equal those of the framework.
- Grad-CAM, Layer-CAM and Eigen-CAM are computed again from the reported signal.
- Integrated gradients are computed again as the same sum, occlusion as differences of scores, and guided backprop with
  gradients of which each ReLU passes only the positive part.
- The parts of full gradients and DeepLIFT must add up to the score.
- The maps of LRP, AttnLRP, the attention methods and Score-CAM must be finite and not constant, with the right
  scores.

The **signal** is the one that Grad-CAM uses if no layer is named, with its shape. Its **evidence** is the area under
the ROC curve of "the cells of a changed block of the image change most": 1 if each cell shows its own part of the
image, 0.5 if cells do not correspond to positions. Its **depth** is the number of calls of layers with kernels that
begin before it, of all such calls. A signal counts as sensible if all of this holds:

- Its evidence is at least 0.6. With random weights, a cell of a deep network's last map sees nearly all of a small
  image.
- No other reading of the same tensor has 0.1 more evidence.
- The score has a gradient at its positions in more than one channel.
- More than a tenth of the calls of layers with kernels begin before it.
"""


def page(rows):
    """Return the page of all results, `{(source, model, method): row}`."""
    built, reasons = subjects(rows), {}
    parts = [HEAD.format(models=len(built)), "## In short", "", *shares(rows, built), ""]
    for source in SOURCES:
        models = [model for one, model in built if one == source]
        if models:
            parts += [f"## {source} ({len(models)})", "", *heading("model", *FAMILIES, "signal", "evidence", "depth")]
            parts += [line(rows, source, model, reasons) for model in sorted(models, key=str.lower)]
            parts.append("")
    parts += ["## Reasons", ""] + [f"{number}. {reason}" for reason, number in reasons.items()] + [""]
    return "\n".join([*parts, *remarks(rows, built)]).rstrip() + "\n"


def subjects(rows):
    return [key[:2] for key, row in rows.items() if key[2] == "built" and row["outcome"] != "failed"]


def heading(*names):
    return ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]


def outcome(rows, source, model, methods):
    """Return the row with the worst outcome of some methods, or None if none was tried."""
    found = [rows[source, model, method] for method in methods if (source, model, method) in rows]
    return max(found, key=lambda row: WORSE.index(row["outcome"]), default=None)


def line(rows, source, model, reasons):
    """Return a model's row of the table. `reasons` numbers the sentences in the order in which they occur."""
    cells = [model]
    for methods in FAMILIES.values():
        row = outcome(rows, source, model, methods)
        cells.append("-" if row is None else SAID[row["outcome"]])
        if row is not None and row["outcome"] in ("refused", "warned", "wrong", "crash"):
            cells[-1] += f" {reasons.setdefault(reason(row['why']), len(reasons) + 1)}"
    cam = rows.get((source, model, "gradcam"), {})
    shape = " x ".join(map(str, cam.get("shape", cam.get("grid", ()))[0 if "shape" not in cam else 1 :]))
    evidence, depth = cam.get("evidence"), cam.get("depth")
    cells += [f"`{cam['signal']}` {shape}" if "signal" in cam else "", "" if evidence is None else f"{evidence:.2f}"]
    cells.append(f"{depth[0]} of {depth[1]}" if depth else "")
    return "| " + " | ".join(cells) + " |"


def reason(text):
    """Return the start of a sentence without the names and numbers of one model, so that equal reasons are merged."""
    text = re.sub(r"(No rule covers) \S+ \((\w+)\)", r"\1 \2", text)
    text = re.sub(r"(Before) \S+ (an operation)", r"\1 some layer \2", text)
    text = re.sub(r"(The attention of) \S+", r"\1 a layer", text)
    text = re.sub(r"^.* may contain a ReLU", "An operation may contain a ReLU", text)
    text = re.sub(r"evidence [\d.]+", "evidence below 0.8", text)
    text = re.sub(r"(?<![A-Za-z])\d[\d.e+-]*", "#", text)
    first = re.split(r"(?<=[^.])[.:;] | - ", text.replace("|", "/"))[0]
    return first if len(first) <= LONG else first[:LONG].rsplit(" ", 1)[0] + " ..."


def shares(rows, built):
    """Return a table of how many models of each source work with each family."""
    lines = heading("source", "models", *FAMILIES)
    for source in SOURCES:
        models = [model for one, model in built if one == source]
        if models:
            counted = [share(rows, source, models, methods) for methods in FAMILIES.values()]
            lines.append(f"| {source} | {len(models)} | " + " | ".join(counted) + " |")
    return lines


def share(rows, source, models, methods):
    """Return how many of the tried models work, and how many are wrong."""
    found = [outcome(rows, source, model, methods) for model in models]
    tried = [row["outcome"] for row in found if row is not None and row["outcome"] not in ("not reached", "too long")]
    good, bad = sum(one in ("right", "ran") for one in tried), sum(one in ("wrong", "crash") for one in tried)
    return f"{good} of {len(tried)}" + (f", {bad} WRONG" if bad else "")


def remarks(rows, built):
    """Return what could not be built, was changed by an explanation, or differs from run to run."""
    sections = {
        "Could not be built": [
            f"{s} {m}: {r['why'][:LONG]}" for (s, m, k), r in rows.items() if k == "built" and (s, m) not in built
        ],
        "Processes that ended early": [f"{s} {m}: {r['why']}" for (s, m, k), r in rows.items() if k == "process"],
        "Changed by an explanation": [
            f"{s} {m}: {r['why'][:LONG]}"
            for (s, m, k), r in rows.items()
            if k == "unchanged" and r["outcome"] == "wrong"
        ],
        "Two runs differ": [f"{s} {m}" for (s, m, k), r in rows.items() if k == "built" and r.get("differ")],
        "Without a score": [
            f"{s} {m}: {r['outcome']}"
            for (s, m, k), r in rows.items()
            if k == "without_score" and r["outcome"] == "crash"
        ],
    }
    return [
        text
        for title, lines in sections.items()
        if lines
        for text in (f"## {title}", "", *(f"- {one}" for one in lines), "")
    ]


def summary(rows):
    """Return the outcomes of each method, and everything that is wrong, as text."""
    rows = {key: row for key, row in rows.items() if key[2] != "end"}
    counts = defaultdict(Counter)
    for (_, _, method), row in rows.items():
        counts[method][row["outcome"]] += 1
    lines = [
        f"{method:22s} " + ", ".join(f"{n} {one}" for one, n in count.most_common()) for method, count in counts.items()
    ]
    for (source, model, method), row in rows.items():
        if row["outcome"] in ("wrong", "crash", "failed"):
            lines.append(
                f"{row['outcome'].upper()} {source} {model} {method}: {row.get('signal', '')} {row['why'][:160]}"
            )
    return "\n".join(lines)
