"""What runs cost: the tables on the page are those that are computed, from figures that a hand can check."""

import re
import sys

import pytest
from tools import run_costs

from architecture.read_imports import SRC
from support.selection import fast_on_torch

pytestmark = fast_on_torch
PAGE = SRC.parent / "docs" / "distributed.md"


def test_a_core_decodes_and_explains():
    """0.36 s x 1.03 for 8 images on 2 cores is 92.7 ms of a core for each, and 4.3 ms to decode it."""
    assert run_costs.core().rate == pytest.approx(1 / (0.0927 + 0.0043))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (5, "5 s"),
        (119, "119 s"),
        (120, "2.0 minutes"),
        (3600 * 27, "27 hours"),
        (86400 * 2, "2.0 days"),
        (1e8, "3.2 years"),
    ],
)
def test_times_are_in_the_unit_that_suits_them(seconds, said):
    assert run_costs.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(106, "106 bytes"), (106e6, "106 MB"), (5.02e10, "50 GB"), (2e12, "2.0 TB")]
)
def test_sizes_are_in_the_unit_that_suits_them(count, said):
    assert run_costs.size(count) == said


def test_many_images_take_as_long_as_their_number_says():
    *_, gpu = run_costs.times((run_costs.Worker("GPU", 1000, True),)).splitlines()
    # 1,000 s, 10 s; 11.6 days, 2.8 hours; 4.3 ms each of a core
    assert gpu == "| GPU | 1,000.0 | 4.3 | 17 minutes | 10 s | 12 days | 2.8 hours |"


def test_what_is_stored_is_the_maps_and_a_little():
    first, second, third = run_costs.stored(grid=10, image=100).splitlines()[2:]
    assert "| 157 | 157 MB | 157 GB |" in first  # 100 + 17 + 40
    assert "| 457 | 457 MB | 457 GB |" in second
    assert "| 10,057 | 10 GB | 10 TB |" in third


@pytest.mark.skipif(not PAGE.exists(), reason="the documents are not installed with the package")
@pytest.mark.parametrize("name", ["times", "stored"])
def test_the_page_has_the_tables(name):
    found = re.search(rf"<!-- {name}: written by tools/run_costs.py -->\n(.*?)\n<!-- end -->", PAGE.read_text(), re.S)
    assert found is not None and found[1] == getattr(run_costs, name)()


def test_a_rate_of_your_own_adds_a_row(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run_costs", "--rate", "640", "--name", "my GPU"])
    run_costs.main()
    assert "| my GPU | 640.0 | 2.8 | 26 minutes |" in capsys.readouterr().out
