"""The server of the page gets a thousand changed images and documents: no error of the server, no memory."""

import io
import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
from support.selection import fast_on_torch
from support.web_server import Browser, running

pytestmark = [fast_on_torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
STATUS = Path("/proc/self/status")


def mutants(number):
    """Images and documents of which some bytes were changed, cut or doubled."""
    rng, seeds = random.Random(0), []
    for kind in ("PNG", "JPEG", "WEBP"):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), "uint8")).save(buffer, kind)
        seeds.append(("/api/images", buffer.getvalue()))
    seeds.append(("/api/maps", b'{"image": "abc", "method": "gradcam", "unit": 3, "layer": "conv", "most": 20}'))
    seeds.append(
        ("/api/report", b'{"image": "abc", "unit": "x", "cards": [{"map": "a", "method": "gradcam", "label": "l"}]}')
    )
    for _ in range(number):
        path, data = rng.choice(seeds)
        data = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            how = rng.randrange(4)
            if how == 0:
                data[at] = rng.randrange(256)
            elif how == 1:
                del data[at : at + rng.randint(1, 20)]
            elif how == 2:
                data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 20)))
            else:
                data = data[: at + 1]
            data = data or bytearray(b"x")
        yield path, bytes(data)


@pytest.fixture(scope="module")
def browser():
    with running() as server:
        yield Browser(server)


def memory():
    return int(re.search(r"VmRSS:\s+(\d+)", STATUS.read_text())[1])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.skipif(not STATUS.exists(), reason="memory is read from /proc")
def test_a_thousand_mutated_uploads_and_bodies(browser):
    cases = list(mutants(1000))
    for path, data in cases[:100]:
        browser.ask("POST", path, data)
    before = memory()
    found = [browser.ask("POST", path, data)[0] for path, data in cases]
    assert max(found) < 500 and {200, 400} <= set(found)
    assert memory() < 1.05 * before
    assert browser.explain(browser.sample(1), unit=3)["state"] == "done"  # the worker is alive
