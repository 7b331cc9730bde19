"""Check an installed wheel: it holds only the library, it has its metadata, and it makes a first map. `make dist` runs
this outside of the sources, in an environment without other packages: `python -P tools/check_wheel.py
dist/NAME.whl`."""

import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

PACKAGES = {"keras_explainable", "saliency"}
LARGEST = 3_000_000  # bytes: two thirds are the embedded networks
NEEDED = ("Author", "License-Expression", "Summary")


def check_files(wheel: Path) -> None:
    """Raise if the wheel has files that users do not need, or lacks pages or networks that they need."""
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        metadata = Parser().parsestr(files.read(next(n for n in names if n.endswith("/METADATA"))).decode())
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == PACKAGES, roots
    assert wheel.stat().st_size < LARGEST, wheel.stat().st_size
    for name in ("py.typed", "__init__.pyi", "demo/model.keras", "viz/html_report.html"):
        assert f"keras_explainable/{name}" in names, name
    assert all(metadata[name] for name in NEEDED), metadata.items()
    assert "Homepage" in str(metadata.get_all("Project-URL"))
    relative = re.findall(r"\]\((?!https?:|#)[^)]*\)", str(metadata.get_payload()))
    assert not relative, f"links of the README that a package index cannot follow: {relative}"


def check_first_map() -> None:
    """Raise if fewer than half of the maps by the installed library have their peak on the object."""
    import numpy as np

    import keras_explainable as ke

    assert "site-packages" in str(ke.__file__), ke.__file__
    scenes, labels, masks = ke.demo.load_scenes(4, seed=1)
    units = labels.argmax(1)
    maps = ke.gradcam(ke.demo.load_model(), scenes, units, verbose=0).maps[..., 0]
    on = [masks[i, unit].ravel()[maps[i].argmax()] for i, unit in enumerate(units)]
    assert np.mean(on) >= 0.5, on
    subprocess.run([sys.executable, "-m", "keras_explainable.cli", "doctor"], check=True)


if __name__ == "__main__":
    check_files(Path(sys.argv[1]))
    check_first_map()
