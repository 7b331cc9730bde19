"""Runs in one process: what they make, what they refuse, and how they go on."""

import json

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import distributed
from keras_explainable.errors import InputError
from support import tiny_network
from support.compare import close
from support.killed_runs import HOW, NETWORK
from support.selection import fast_on_torch

pytestmark = fast_on_torch
N = 43
HALF_STEP = 0.5 / 255 + 1e-5  # of maps between 0 and 1, as 8-bit numbers


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tiny_network.folder(tmp_path_factory.mktemp("photos"), N - 3)


@pytest.fixture(scope="module")
def out(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "out"
    distributed.explain("gradcam", NETWORK, photos, out, **HOW)
    return out


def explained(method="gradcam", y="predicted", **how):
    """What `ke.explain` says of the same images, by id."""
    x = np.stack([tiny_network.pixels(i) for i in range(N - 3)]).astype("float32")
    ids = [f"{'ab'[i % 2]}/{i // 2:04d}.png" for i in range(N - 3)]
    return ids, ke.explain(method, tiny_network.make(), x, y, verbose=0, postprocessing="usual", **how)


def test_the_maps_are_those_of_explain(out):
    maps, (ids, whole) = distributed.open(out), explained()
    rows = [maps.row(id) for id in ids]
    found = maps.rows(0, len(maps))
    close([found.scores[rows]], [whole.scores])
    assert np.array_equal(found.units[rows], whole.units)
    assert found.maps.shape == (N, 16, 16, 1) and found.maps.dtype == "float32"
    assert abs(found.maps[rows] - whole.maps).max() <= HALF_STEP
    assert np.array_equal(maps["b/0003.png"], found.maps[maps.row("b/0003.png")])
    assert np.array_equal(maps[5], maps[5:6][0])
    batches = list(maps.iter_batches(10))
    assert [len(batch.ids) for batch in batches] == [10, 10, 10, 10, 3]
    assert np.array_equal(np.concatenate([batch.maps for batch in batches]), found.maps, equal_nan=True)


def test_images_that_cannot_be_read_are_set_aside_with_their_reason(out):
    report, maps = distributed.status(out, verify=True), distributed.open(out)
    assert (report.images, report.explained, report.aside, report.given_up, report.left) == (N, N - 3, 3, 0, 0)
    assert report.complete and report.damaged == []
    assert set(report.reasons) == {"a/cut.png", "b/empty.png", "b/text.jpg"}
    table = {row["id"]: row for row in maps.table.to_pylist()}
    assert len(table) == N
    assert table["b/empty.png"]["status"] == "set aside" and "empty" in table["b/empty.png"]["reason"]
    assert table["b/empty.png"]["unit"] is None
    assert table["a/0000.png"]["status"] == "explained" and table["a/0000.png"]["reason"] is None
    with pytest.raises(KeyError, match=r"text\.jpg has no map: set aside"):
        maps["b/text.jpg"]
    assert np.isnan(maps[maps.row("b/text.jpg") : maps.row("b/text.jpg") + 1]).all()
    with pytest.raises(KeyError, match="There is no image"):
        maps["c"]


def test_the_same_call_again_has_nothing_to_do(out, photos, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    monkeypatch.setattr(ke.loading, "load", lambda *_: pytest.fail("a model was loaded"))
    assert distributed.explain("gradcam", NETWORK, photos, out, **HOW).complete
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"method": "hirescam"}, "method='gradcam' there, 'hirescam' now"),
        ({"model": "support.tiny_network:other"}, "model="),
        ({"unit": 1}, "unit='top-1' there, 1 now"),
        ({"dtype": "float16"}, "dtype='uint8' there, 'float16' now"),
        ({"resolution": "image"}, "resolution="),
        ({"format": "parquet"}, "format="),
        ({"part_size": 8}, "part_size=16 there, 8 now"),
        ({"layer": "conv"}, "parameters="),
        ({"fit": "crop"}, "fit='squash' there, 'crop' now"),
        ({"size": (32, 32)}, "size="),
    ],
)
def test_another_setting_is_refused_by_its_name(out, photos, changed, named):
    how = {"method": "gradcam", "model": NETWORK, "source": photos, **HOW, **changed}
    with pytest.raises(InputError, match="holds another run") as refused:
        distributed.explain(out=out, **how)
    assert named in str(refused.value) and str(refused.value).count(" now") == 1


def test_other_weights_of_the_same_model_are_refused(photos, tmp_path):
    file = tmp_path / "model.keras"
    tiny_network.make().save(file)
    distributed.explain("gradcam", file, photos, tmp_path / "out", **HOW)
    tiny_network.other().save(file)
    (tmp_path / "out" / "parts" / "00001.json").unlink()
    with pytest.raises(InputError, match="weights="):
        distributed.explain("gradcam", file, photos, tmp_path / "out", **HOW)


def test_a_run_goes_on_with_another_batch_size_if_nothing_is_drawn(photos, tmp_path):
    for method, fits in (("gradcam", True), ("smoothgrad", False)):
        out, how = tmp_path / method, {**HOW, **({} if fits else {"repetitions": 2})}
        distributed.explain(method, NETWORK, photos, out, **how)
        (out / "parts" / "00001.json").unlink()
        if fits:
            assert distributed.explain(method, NETWORK, photos, out, **how | {"batch_size": 4}).complete
        else:
            with pytest.raises(InputError, match="batch_size=8 there, 4 now"):
                distributed.explain(method, NETWORK, photos, out, **how | {"batch_size": 4})


def test_what_is_damaged_is_found_and_redone(photos, tmp_path, out):
    ours = tmp_path / "out"
    distributed.explain("gradcam", NETWORK, photos, ours, **HOW)
    shard = ours / "maps.zarr/maps/c/1/0/0/0"
    whole = shard.read_bytes()
    for torn in (whole[:40], whole[:-1] + bytes([whole[-1] ^ 1])):
        shard.write_bytes(torn)
        assert distributed.status(ours, verify=True).damaged == [1]
        assert distributed.explain("gradcam", NETWORK, photos, ours, verify=True, **HOW).complete
        assert shard.read_bytes() == whole
    assert not list((ours / "attempts").iterdir())


def test_retry_explains_what_was_set_aside(tmp_path):
    photos = tiny_network.folder(tmp_path / "photos", 40)
    distributed.explain("gradcam", NETWORK, photos, tmp_path / "out", **HOW)
    (photos / "b/empty.png").write_bytes((photos / "b/0000.png").read_bytes())
    assert distributed.explain("gradcam", NETWORK, photos, tmp_path / "out", **HOW).aside == 3
    report = distributed.explain("gradcam", NETWORK, photos, tmp_path / "out", retry=True, **HOW)
    assert (report.explained, report.aside) == (41, 2)
    maps = distributed.open(tmp_path / "out")
    assert np.array_equal(maps["b/empty.png"], maps["b/0000.png"])
    assert maps.table.num_rows == 43


def test_images_that_are_gone_are_set_aside_and_new_ones_are_not_seen(tmp_path, photos):
    own = tiny_network.folder(tmp_path / "photos", 40, bad=False)
    distributed.explain("gradcam", NETWORK, own, tmp_path / "out", **HOW)
    (own / "a/0001.png").unlink()
    (own / "a/new.png").write_bytes((own / "a/0000.png").read_bytes())
    for record in (tmp_path / "out" / "parts").iterdir():
        record.unlink()
    report = distributed.explain("gradcam", NETWORK, own, tmp_path / "out", **HOW)
    assert (report.images, report.explained, report.left) == (40, 39, 0)
    assert "gone" in report.reasons["a/0001.png"] or "no file" in report.reasons["a/0001.png"]


def test_a_source_of_bad_files_is_refused_before_any_work(tmp_path):
    photos = tiny_network.folder(tmp_path / "photos", 2)
    with pytest.raises(InputError, match="3 of 5 images"):
        distributed.explain("gradcam", NETWORK, photos, tmp_path / "out", **HOW)
    assert not (tmp_path / "out" / "run.json").exists()


def test_several_methods_share_a_run(photos, tmp_path):
    out = tmp_path / "out"
    distributed.explain(["gradcam", "gradients"], NETWORK, photos, out, unit="top-2", **HOW)
    with pytest.raises(InputError, match="gradcam, gradients"):
        distributed.open(out)
    for method in ("gradcam", "gradients"):
        maps, (ids, whole) = distributed.open(out, method), explained(method, "top-2")
        rows = [maps.row(id) for id in ids]
        found = maps.rows(0, N)
        assert abs(found.maps[rows] - whole.maps).max() <= HALF_STEP
        close([found.scores[rows]], [whole.scores])
        assert np.array_equal(found.units[rows], whole.units)
    assert json.loads((out / "run.json").read_text())["layout"]["maps"] == {
        "gradcam": [8, 8, 2],
        "gradients": [16, 16, 2],
    }


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("resolution", ["signal", "image"])
def test_every_type_and_resolution(photos, tmp_path, dtype, resolution):
    how = {**HOW, "dtype": dtype, "resolution": resolution, "unit": 2}
    distributed.explain("gradcam", NETWORK, photos, tmp_path / "out", **how)
    maps, (ids, whole) = distributed.open(tmp_path / "out"), explained(y=2)
    found = np.stack([maps[id] for id in ids])
    assert abs(found - whole.maps).max() <= {"uint8": HALF_STEP, "float16": 2**-11 + 1e-5, "float32": 1e-5}[dtype]
    assert distributed.open(tmp_path / "out", resize=False)[0].shape == (
        (8, 8, 1) if resolution == "signal" else (16, 16, 1)
    )


def test_a_model_in_memory_is_saved_in_the_output(photos, tmp_path, out):
    model = tiny_network.make()
    before = [w.copy() for w in model.get_weights()]
    distributed.explain("gradcam", model, photos, tmp_path / "out", **HOW)
    assert (tmp_path / "out/model.keras").exists()
    close([distributed.open(tmp_path / "out")[0]], [distributed.open(out)[0]])
    close(model.get_weights(), before)
    with pytest.raises(InputError, match="weights="):
        distributed.explain("gradcam", tiny_network.other(), photos, tmp_path / "out", **HOW)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"dtype": "int4"}, "dtype='int4' came, and one of uint8"),
        ({"format": "csv"}, "format='csv'"),
        ({"resolution": "large"}, "resolution='large'"),
        ({"engine": "spark"}, "engine='spark'"),
        ({"unit": -1}, "unit=-1"),
        ({"part_size": 12}, "a multiple of batch_size=8"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_attempts": 0}, "max_attempts=0"),
        ({"resizing": True}, "resizing= came"),
        ({"baseline": lambda x: x}, "must be the same in every process"),
        ({"method": "gradients", "reduce": None}, "gives maps of shape"),
        ({"model": lambda x: x}, "package.module:factory"),
    ],
)
def test_what_cannot_be_run_is_refused_at_the_door(photos, tmp_path, given, message):
    how = {"method": "gradcam", "model": NETWORK, **HOW, **given}
    with pytest.raises(InputError, match=message):
        distributed.explain(source=photos, out=tmp_path / "out", **how)
    assert not (tmp_path / "out" / "run.json").exists()


def test_the_model_is_loaded_once_and_compiled_once(photos, tmp_path, monkeypatch):
    loads, load = [], ke.load
    monkeypatch.setattr(ke.loading, "load", lambda *args: loads.append(args) or load(*args))
    monkeypatch.setattr(ke, "load", ke.loading.load, raising=False)
    seen = []
    from keras_explainable.distributed.explainer import Explainer

    part = Explainer.part
    monkeypatch.setattr(
        Explainer, "part", lambda *args: (part(*args), seen.append(ke.cache_info().misses))[0], raising=True
    )
    distributed.explain("gradcam", NETWORK, photos, tmp_path / "out", **HOW)
    assert len(loads) == 1
    assert len(seen) == 1 + 3 and len(set(seen)) == 1  # all is compiled for the first batch


def test_values_that_are_not_finite_are_explained_and_counted(tmp_path):
    photos = tiny_network.folder(tmp_path / "photos", 16, bad=False)
    model = tiny_network.make()
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, np.where(np.arange(3) == 1, np.nan, bias)])
    report = distributed.explain("gradcam", model, photos, tmp_path / "out", unit=1, **HOW)
    assert (report.explained, report.broken) == (16, 16)
    assert "16 images have scores or maps that are not finite" in str(report)


def test_the_arrays_are_read_by_zarr_alone(out):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(out / "maps.zarr"), mode="r")
    assert group["maps"].shape == (48, 8, 8, 1) and group["maps"].shards == (16, 8, 8, 1)
    assert {name: group[name].shape for name in ("low", "high", "scores", "units", "status")} == {
        "low": (48, 1), "high": (48, 1), "scores": (48, 1), "units": (48, 1), "status": (48,)
    }  # fmt: skip
    assert (group["status"][:] == 1).sum() == N - 3 and (group["status"][N:] == 0).all()
    small = (
        group["low"][:][:, None, None] + group["maps"][:] / 255 * (group["high"][:] - group["low"][:])[:, None, None]
    )
    whole = np.einsum("Hh,nhwk,Ww->nHWk", group["gradcam/rows"][:], small, group["gradcam/columns"][:])
    close([whole[:3]], [distributed.open(out)[0:3]], 1e-5)
    assert group.attrs["settings"]["method"] == "gradcam"
