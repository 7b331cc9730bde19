"""Runs that store Parquet: the same values as Zarr, and readable by PyArrow alone."""

import signal

import numpy as np
import pytest

from keras_explainable import distributed
from support import tiny_network
from support.killed_runs import HOW, NETWORK, ended, objects
from support.selection import fast_on_torch

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = fast_on_torch
N = 43


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tiny_network.folder(tmp_path_factory.mktemp("photos"), N - 3)


@pytest.fixture(scope="module")
def out(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "out"
    distributed.explain(["gradcam", "gradients"], NETWORK, photos, out, format="parquet", unit="top-2", **HOW)
    return out


def test_it_has_the_same_values_as_zarr(out, photos, tmp_path):
    distributed.explain(["gradcam", "gradients"], NETWORK, photos, tmp_path / "zarr", unit="top-2", **HOW)
    for method in ("gradcam", "gradients"):
        ours, others = (distributed.open(path, method).rows(3, 41) for path in (out, tmp_path / "zarr"))
        assert ours.ids == others.ids
        for a, b in zip(ours[1:], others[1:], strict=True):
            assert np.array_equal(a, b, equal_nan=True)
    assert distributed.open(out, "gradcam").table.equals(distributed.open(tmp_path / "zarr", "gradcam").table)
    assert not (out / "maps.zarr").exists()


def test_a_part_is_read_by_pyarrow_alone(out):
    table = pq.read_table(out / "parts" / "00001.parquet")
    assert table["row"].to_pylist() == list(range(16, 32))
    row = next(row for row in table.to_pylist() if row["status"] == "explained")
    values = np.frombuffer(row["gradcam.maps"], "uint8").reshape(8, 8, 2)
    low, high = np.array(row["gradcam.low"]), np.array(row["gradcam.high"])
    matrices = np.load(out / "resizing.npz")
    small = low + values / 255 * (high - low)
    whole = np.einsum("Hh,hwk,Ww->HWk", matrices["gradcam.rows"], small, matrices["gradcam.columns"])
    assert abs(whole - distributed.open(out, "gradcam")[row["id"]]).max() < 1e-6
    aside = [
        row for row in table.to_pylist() + pq.read_table(out / "parts" / "00002.parquet").to_pylist() if row["reason"]
    ]
    assert {row["status"] for row in aside} == {"set aside"}
    assert sum(table.num_rows for table in map(pq.read_table, (out / "parts").iterdir())) == N


def test_what_is_damaged_is_found_and_redone(out, photos, tmp_path):
    how = {"format": "parquet", **HOW}
    distributed.explain("gradcam", NETWORK, photos, tmp_path / "out", **how)
    part = tmp_path / "out" / "parts" / "00001.parquet"
    whole, table = part.read_bytes(), pq.read_table(part)
    others = [[value + 1 for value in row] for row in table["scores"].to_pylist()]
    field = table.schema.field("scores")
    changed = table.set_column(table.schema.get_field_index("scores"), field, pa.array(others, field.type))
    for damage in (lambda: part.write_bytes(whole[: len(whole) // 2]), lambda: pq.write_table(changed, part)):
        damage()
        assert distributed.status(tmp_path / "out", verify=True).damaged == [1]
        assert distributed.explain("gradcam", NETWORK, photos, tmp_path / "out", verify=True, **how).complete
        assert distributed.status(tmp_path / "out", verify=True).damaged == []


@pytest.mark.parametrize("point", ["begin", "maps", "commit"])
def test_a_death_loses_and_repeats_nothing(photos, tmp_path, point):
    how = {"format": "parquet"}
    assert ended(tmp_path / "out", photos, (point, 1), how=how) == -signal.SIGKILL
    assert ended(tmp_path / "out", photos, how=how) == 0
    distributed.explain("gradcam", NETWORK, photos, tmp_path / "alone", **HOW, **how)
    ours, others = (distributed.open(tmp_path / name) for name in ("out", "alone"))
    assert ours.table.equals(others.table)
    assert np.array_equal(ours[0:N], others[0:N], equal_nan=True)
    assert objects(tmp_path / "out").keys() == objects(tmp_path / "alone").keys()
