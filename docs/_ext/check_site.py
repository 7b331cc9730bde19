"""Fail if a page of the built site has a broken internal link, or loads anything from another host."""

import sys
from pathlib import Path

import links


def main(site: Path) -> int:
    """Check a built site, and return the exit status."""
    wrong = [f"broken link: {one}" for one in links.broken(site)]
    wrong += [f"loaded from another host: {one}" for one in links.foreign(site)]
    pages = len(links.pages_of(site))
    print("\n".join([*wrong, f"{pages} pages, {len(wrong)} problems"]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
