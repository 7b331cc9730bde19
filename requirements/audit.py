"""Look up known holes of all versions that are pinned here, and fail if there is one.

If the advisories cannot be reached, it says so and does not fail: that says nothing of the versions."""

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def rounds(pinned: list[str]) -> list[list[str]]:
    """Sorted pins in lists that have no package twice, which pip-audit refuses."""
    versions = [list(of) for _, of in itertools.groupby(pinned, lambda one: one.partition("==")[0])]
    return [[one for one in some if one] for some in itertools.zip_longest(*versions)]


def looked_up(pinned: list[str]) -> subprocess.CompletedProcess:
    """What pip-audit says of these pins."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")
        pins.write_text("\n".join(pinned))
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        command += ["--format", "json", "--requirement", str(pins)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def main() -> int:
    """Audit the pins; the exit status."""
    lines = [line for file in Path(__file__).parent.glob("*.txt") for line in file.read_text().splitlines()]
    pinned = sorted({line.split(" ")[0] for line in lines if line and not line.startswith("#")})
    all_done = [looked_up(some) for some in rounds(pinned)]
    if failed := [done for done in all_done if not done.stdout.strip()]:
        why = failed[0].stderr.strip().splitlines()[-1:]
        print(f"The advisories cannot be reached, so nothing was audited: {why}")
        return 0
    found = [one for done in all_done for one in json.loads(done.stdout)["dependencies"]]
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}, fixed in {', '.join(hole['fix_versions']) or 'no version'}"
        for one in found
        for hole in one.get("vulns", ())
    ]
    audited = [one for one in found if "vulns" in one]
    if not audited:
        print("The advisories of none of the pinned versions could be found, so nothing was audited.")
        return 0
    print(f"Looked up {len(audited)} of {len(pinned)} pinned versions. Known holes: {len(holes)}")
    if skipped := [one["name"] for one in found if "vulns" not in one]:
        print(f"Not looked up: {', '.join(skipped)}")
    if holes:
        print("\n".join(holes))
    return bool(holes)


if __name__ == "__main__":
    sys.exit(main())
