"""The same images from a folder, Parquet files and tars; and from an object store into one."""

import io
import tarfile

import numpy as np
import pytest

from keras_explainable import distributed
from keras_explainable.errors import InputError
from support import tiny_network
from support.killed_runs import HOW, NETWORK
from support.selection import fast_on_torch, very_slow_compiled

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = fast_on_torch
N = 40


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tiny_network.folder(tmp_path_factory.mktemp("photos"), N, bad=False)


@pytest.fixture(scope="module")
def images(photos):
    return {str(path.relative_to(photos)): path.read_bytes() for path in sorted(photos.rglob("*.png"))}


@pytest.fixture(scope="module")
def expected(photos, tmp_path_factory):
    """The maps of units 0, 1, 2, 0, ... by id."""
    out = tmp_path_factory.mktemp("expected") / "out"
    distributed.explain("gradcam", NETWORK, photos, out, unit="all", **HOW)
    maps = distributed.open(out)
    return {id: maps[id][..., i % 3] for i, id in enumerate(maps.table["id"].to_pylist())}


def check(out, expected, named=lambda id: id):
    maps = distributed.open(out)
    table = maps.table.to_pylist()
    assert {named(row["id"]) for row in table} == set(expected)
    for row in table:
        assert row["unit"] == [*expected].index(named(row["id"])) % 3
        assert abs(maps[row["id"]][..., 0] - expected[named(row["id"])]).max() < 1e-5, row


def test_parquet_with_a_column_of_units(images, expected, tmp_path):
    rows = [{"bytes": data, "path": name} for name, data in images.items()]
    columns = {"photo": rows, "name": [*images], "label": [i % 3 for i in range(N)]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=7)
    how = {"column": "photo", "id_column": "name", "unit": "column:label", **HOW}
    report = distributed.explain("gradcam", NETWORK, tmp_path / "x.parquet", tmp_path / "out", **how)
    assert report.explained == N
    check(tmp_path / "out", expected)


def test_tars_with_names_of_classes(images, expected, tmp_path):
    labels = ["red", "green", "blue"]
    for part in range(2):
        with tarfile.open(tmp_path / f"x-{part}.tar", "w") as tar:
            for i, (name, data) in list(enumerate(images.items()))[part::2]:
                for suffix, content in ((".png", data), (".cls", labels[i % 3].encode())):
                    info = tarfile.TarInfo(name.removesuffix(".png") + suffix)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    how = {"unit": "column:cls", "labels": labels, **HOW}
    report = distributed.explain("gradcam", NETWORK, f"{tmp_path}/x-{{0..1}}.tar", tmp_path / "out", **how)
    assert report.explained == N
    check(tmp_path / "out", expected, lambda id: f"{id.partition('/')[2]}.png")


def test_a_unit_that_the_model_lacks_sets_its_image_aside(images, expected, tmp_path):
    columns = {"image": [*images.values()], "name": [*images], "label": [i % 3 if i != 5 else 9 for i in range(N)]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    how = {"id_column": "name", "unit": "column:label", **HOW}
    report = distributed.explain("gradcam", NETWORK, tmp_path / "x.parquet", tmp_path / "out", **how)
    assert (report.explained, report.aside) == (N - 1, 1)
    assert report.reasons == {[*images][5]: "The column of units has 9, and the model has 3 units."}


def test_a_list_of_paths(photos, expected, tmp_path):
    paths = [str(photos / name) for name in expected]
    report = distributed.explain("gradcam", NETWORK, paths[:9], tmp_path / "out", unit=0, **HOW)
    assert report.explained == 9
    maps = distributed.open(tmp_path / "out")
    assert abs(maps[paths[0]][..., 0] - expected["a/0000.png"]).max() < 1e-5
    with pytest.raises(InputError, match="source="):
        distributed.explain("gradcam", NETWORK, paths[:8], tmp_path / "out", unit=0, **HOW)


def test_a_name_of_a_class(photos, tmp_path):
    how = {"labels": ["red", "green", "blue"], **HOW}
    distributed.explain("gradcam", NETWORK, photos, tmp_path / "named", unit="blue", **how)
    distributed.explain("gradcam", NETWORK, photos, tmp_path / "numbered", unit=2, **how)
    ours, others = distributed.open(tmp_path / "named"), distributed.open(tmp_path / "numbered")
    assert np.array_equal(ours[0:N], others[0:N]) and set(ours.table["unit"].to_pylist()) == {2}


@very_slow_compiled
@pytest.mark.parametrize("format", ["zarr", "parquet"])
def test_from_an_object_store_into_one(images, photos, tmp_path, monkeypatch, format):
    """While it is busy, and stops answering."""
    for needed in ("moto", "s3fs", "boto3"):
        pytest.importorskip(needed)
    from keras_explainable.distributed.sources import stores
    from support import s3_server

    monkeypatch.setattr(stores, "PAUSES", (0.05, 0.05))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    how = {**HOW, "format": format}
    with s3_server.running() as server:
        server.put({f"in/{name}": data for name, data in images.items()} | {"in/a/bad.png": b"no picture"})
        how["storage_options"] = server.options
        places = "gradcam", NETWORK, f"s3://{s3_server.BUCKET}/in", f"s3://{s3_server.BUCKET}/out-{format}"
        ending = ".parquet" if format == "parquet" else ".json"
        server.faults |= {f"parts/00001{ending}": (503, "SlowDown", 2), "in/b/0003.png": (503, "SlowDown", 1)}
        server.faults["run.json"] = (500, "InternalError", 1)
        assert distributed.explain(*places, **how).complete
        assert all(left == 0 for _, _, left in server.faults.values())
        status = distributed.status(places[3], verify=True, storage_options=server.options)
        assert (status.explained, status.aside, status.damaged) == (N, 1, [])
        server.client.delete_object(Bucket=s3_server.BUCKET, Key=f"out-{format}/parts/00002{ending}")
        server.client.delete_object(Bucket=s3_server.BUCKET, Key=f"out-{format}/images.parquet")
        server.faults = {f"parts/00002{ending}": (503, "SlowDown", 99)}
        with pytest.raises(Exception, match="SlowDown|slow down|told to|503|reduce"):
            distributed.explain(*places, **how)
        server.faults = {}
        assert distributed.status(places[3], storage_options=server.options).left == 41 - 32
        assert distributed.explain(*places, **how).complete
        maps = distributed.open(places[3], storage_options=server.options)
        distributed.explain("gradcam", NETWORK, photos, tmp_path / "local", **HOW)
        local = distributed.open(tmp_path / "local")
        for name in list(images)[::7]:
            assert np.array_equal(maps[name], local[name])
        assert maps.table.num_rows == 41
