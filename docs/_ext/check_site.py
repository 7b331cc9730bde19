"""Fail if a page of the built site has an internal link that leads nowhere, or loads anything from another host."""

import sys
from pathlib import Path

import links


def main(site: Path) -> int:
    """Check a built site; the exit status."""
    wrong = [f"leads nowhere: {one}" for one in links.broken(site)]
    wrong += [f"another host: {one}" for one in links.foreign(site)]
    pages = len(links.pages_of(site))
    print("\n".join([*wrong, f"{pages} pages, {len(wrong)} faulty links"]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
