"""Show the figures as a table and a chart, and check them against one another."""

import json

import numpy as np

SAME = 1e-2  # the largest difference between backends with equal weights, relative to the largest value
AGREE = 0.99  # the lowest correlation with a peer's map of the same definition
UNSTABLE = ("guided_ig",)  # rounding decides which values move together, so backends differ, like images 1e-6 apart


def joined(files):
    """Join the figures of several runs on one machine."""
    found = [json.loads(file.read_text()) for file in files]
    if any(other["machine"] != found[0]["machine"] for other in found):
        raise SystemExit("The files are from different machines or versions: show each separately.")
    return {"machine": found[0]["machine"], "rows": [row for part in found for row in part["rows"]]}


def check(rows):
    """Mark maps as wrong that differ from those of other backends with equal weights, or from a peer's maps."""
    groups = {}
    for row in rows:
        same_weights = row["backend"] != "native" or row["network"] == "demo"
        if "sketch" in row and same_weights and row["method"] not in UNSTABLE:
            groups.setdefault((row["network"], row["batch"], row["size"], row["method"]), []).append(row)
    for same in groups.values():
        for row in same if len(same) > 1 else ():
            others = [np.array(other["sketch"]) for other in same if other is not row]
            errors = [abs(np.array(row["sketch"]) - other).max() / abs(other).max() for other in others]
            if row["verdict"] == "unchecked":
                row["verdict"] = "right" if min(errors) < SAME else f"wrong by {min(errors):.1e}"
    for row in rows:
        for name, facts in row.get("peers", {}).items():
            known = facts.get("agreement") if isinstance(facts, dict) else None
            if known is not None and not row["verdict"].startswith("wrong"):
                row["verdict"] = "right" if known > AGREE else f"unlike {name} ({known:.2f})"


def table(found):
    """Return all rows as Markdown, below a description of the machine."""
    facts = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [f"{facts['cores']} cores of {facts['processor']}, {facts['device']}; {versions}", ""]
    head = [
        "network",
        "batch",
        "backend",
        "method",
        "seconds",
        "ratio to its floor",
        "at most",
        "first call",
        "memory",
        "maps",
        "peers",
    ]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(str, cells(row))) + " |" for row in found["rows"]]
    return "\n".join(lines)


def cells(row):
    start = [row["network"], row["batch"], row["backend"]]
    if "failed" in row:
        return [*start, "failed: " + row["failed"], *[""] * 7]
    extra = "".join(f", {row[key]} {key}" for key in ("units", "repetitions") if key in row)
    extra += f", {row['size']} pixels" if row.get("growth") else ""
    ratio = f"{span(row['ratio'])} x {row['floor']}" if "ratio" in row else ""
    memory = f"{row['memory']:.0f} MiB" if "memory" in row else ""
    memory += f" ({row['memory_ratio']:.2f} x)" if "memory_ratio" in row else ""
    first = f"{row['first']:.1f} s" if "first" in row else ""
    seconds = f"{row['seconds'][0]:.3f}" if "seconds" in row else ""
    beside = "; ".join(f"{name}: {peer(facts)}" for name, facts in row.get("peers", {}).items())
    return [
        *start,
        row["method"] + extra,
        seconds,
        ratio,
        row.get("most") or "",
        first,
        memory,
        row.get("verdict", ""),
        beside,
    ]


def span(values):
    return "{:.2f} ({:.2f} to {:.2f})".format(*values)


def peer(facts):
    """Return a peer's time relative to ours, or the reason why there is no figure."""
    return f"{facts['times'][0]:.1f} x as long" if isinstance(facts, dict) and "times" in facts else str(facts)


NAMES = {"tensorflow": "Keras on TensorFlow", "jax": "on JAX", "torch": "on PyTorch", "native": "plain PyTorch module"}


def chart(found, path):
    """Draw a panel for each network, with a bar for the ratio of each method to its floor and the spread."""
    from matplotlib import pyplot as plt

    rows = [row for row in found["rows"] if "ratio" in row and not {"units", "repetitions", "growth"} & set(row)]
    if not rows:
        return
    panels = list(dict.fromkeys((row["network"], row["batch"]) for row in rows))
    kinds = list(dict.fromkeys(row["backend"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure, axes = plt.subplots(1, len(panels), figsize=(max(8.0, 4.6 * len(panels)), 4.2), sharey=True, squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        for k, kind in enumerate(kinds):
            mine = {
                row["method"]: row["ratio"]
                for row in rows
                if (row["network"], row["batch"], row["backend"]) == (*panel, kind)
            }
            at = [methods.index(method) + (k - len(kinds) / 2 + 0.5) * 0.8 / len(kinds) for method in mine]
            middles = np.array([ratio[0] for ratio in mine.values()])
            ends = np.array([[ratio[0] - ratio[1], ratio[2] - ratio[0]] for ratio in mine.values()]).T
            axis.bar(
                at,
                middles,
                0.8 / len(kinds),
                label=NAMES.get(kind, kind),
                yerr=ends if len(mine) else None,
                error_kw={"lw": 0.7, "alpha": 0.6},
            )
        axis.axhline(1, color="black", lw=0.8)
        axis.set_xticks(range(len(methods)), methods, rotation=35, ha="right", fontsize=8)
        axis.set_title(f"{panel[0]}, batch {panel[1]}", fontsize=10)
    axes[0][0].set_ylabel("time / the bare framework's")
    names = axes[0][0].get_legend_handles_labels()
    figure.legend(*names, fontsize=8, ncols=len(kinds), loc="upper center", bbox_to_anchor=(0.5, 0.95), frameon=False)
    figure.suptitle(f"{found['machine']['cores']} cores of {found['machine']['processor']}", fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(path, dpi=110)
