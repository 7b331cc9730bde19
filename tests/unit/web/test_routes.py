"""The server: maps are those of the library, each is computed once, streams end, pages that are closed stop."""

import io
import json
import threading
import time

import keras
import numpy as np
import pytest
from PIL import Image

import keras_explainable as ke

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
from keras_explainable.runtime import warning
from keras_explainable.web import pages, work
from keras_explainable.web.lanes import LONG, QUICK
from support.compare import close
from support.selection import fast_on_torch
from support.web_server import Browser, running, within

pytestmark = [
    fast_on_torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def loaded():
    return ke.load()


@pytest.fixture(scope="module")
def server(loaded):
    with running(loaded) as found:
        yield found


@pytest.fixture
def browser(server):
    return Browser(server)


def values(browser, found):
    status, content = browser.ask("GET", f"/api/maps/{found['map']}")
    assert status == 200
    return np.frombuffer(content, "<f4").reshape(found["height"], found["width"])


def scene(n):
    return ke.demo.load_scenes(8, seed=7)[0][n : n + 1]


def test_a_map_is_that_of_the_library(browser, loaded):
    found = browser.explain(browser.sample(2), "full_gradients", 8)
    expected = ke.full_gradients(loaded.model, loaded.preprocess(scene(2)), 8, verbose=0).maps[0, ..., 0]
    close(values(browser, found), expected)


def test_a_layer_a_contrast_and_fewer_repetitions_are_passed_on(browser, server, loaded):
    image, x = browser.sample(2), loaded.preprocess(scene(2))
    server.room._find_layers()
    layer = list(server.room.layers)[3]
    found = browser.explain(image, "gradcam", 8, layer=layer)
    close(values(browser, found), ke.gradcam(loaded.model, x, 8, layer=layer, verbose=0).maps[0, ..., 0])
    found = browser.explain(image, "gradcam", 8, against=1)
    close(values(browser, found), ke.gradcam(loaded.model, x, score=ke.scores.margin(8, 1), verbose=0).maps[0, ..., 0])
    found = browser.explain(image, "smoothgrad", 8, most=3)
    close(values(browser, found), ke.smoothgrad(loaded.model, x, 8, repetitions=3, verbose=0).maps[0, ..., 0])


def test_the_top_classes_are_those_of_the_model(browser, loaded):
    image = browser.sample(2)
    browser.json("POST", "/api/top", {"image": image})
    found = list(browser.events())[-1]
    scores = ke.loading.scores(loaded, loaded.preprocess(scene(2)))[0]
    assert [row["unit"] for row in found["top"]] == np.argsort(-scores)[:5].tolist() and found["units"] == len(scores)
    close([row["score"] for row in found["top"]], np.sort(scores)[::-1][:5])
    assert browser.json("POST", "/api/top", {"image": image})[1]["top"] == found["top"]  # known: no job


def test_the_layers_are_in_the_order_of_execution_with_shapes(server, browser, loaded):
    server.room._find_layers()
    found = browser.json("GET", "/api/status")[1]["layers"]
    known = {s.path: s.shape[1:] for s in ke.inspection.signals(loaded.model, (1, 96, 96, 3))}
    assert len(found) > 5 and [row["path"] for row in found] == [
        path for path in known if path in {r["path"] for r in found}
    ]
    assert all(tuple(row["shape"]) == tuple(known[row["path"]]) for row in found)


def test_methods_say_what_they_need_and_why_they_cannot_run(browser, server, loaded):
    methods = {m["name"]: m for m in browser.json("GET", "/api/model")[1]["methods"]}
    assert set(methods) == set(ke.registry.METHODS)
    assert methods["gradcam"]["layer"] and not methods["gradients"]["layer"]
    assert methods["rise"]["fewer"] == {"repetitions": 1000} and methods["scorecam"]["fewer"] == {"max_channels": None}
    assert methods["deconvnet"]["caveat"] and methods["rise"]["cost"] == "(1 + n) forward"
    server.room._try("attention_rollout")
    server.room._try("cam")
    unmet = browser.json("GET", "/api/status")[1]["unmet"]
    assert unmet["attention_rollout"].startswith("No attention probabilities") and "cam" not in unmet
    with pytest.raises(ke.errors.LayerError, match="No attention probabilities"):
        ke.attention_rollout(loaded.model, loaded.preprocess(scene(0)), verbose=0)


def test_what_is_tried_needs_what_a_model_may_lack():
    tried = set(work.tried())
    assert {"cam", "attnlrp", "lrp_epsilon", "guided_backprop", "xrai", "full_gradients"} <= tried
    assert tried.isdisjoint({"gradcam", "gradients", "rise", "smoothgrad"})


def test_lanes_go_by_the_cost():
    lanes = {name: work.Asked("", name, 0).lane for name in ke.registry.METHODS}
    assert all(
        lanes[name] == QUICK for name in ("gradcam", "full_gradients", "gradients", "lrp_epsilon", "attention_rollout")
    )
    assert all(
        lanes[name] == LONG
        for name in ("rise", "occlusion", "scorecam", "ablationcam", "smoothgrad", "sobol", "deep_shap")
    )


def test_uploads_are_what_the_model_sees(browser, loaded):
    photo = np.random.default_rng(0).integers(0, 256, (96, 96, 3), "uint8")
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    status, content = browser.ask("POST", "/api/images", buffer.getvalue())
    found = json.loads(content)
    assert status == 200 and found["note"] == ""
    back = np.asarray(Image.open(io.BytesIO(browser.ask("GET", f"/api/images/{found['image']}")[1])))
    np.testing.assert_array_equal(back, photo)
    close(
        values(browser, browser.explain(found["image"], "gradients", 3)),
        ke.gradients(loaded.model, loaded.preprocess(photo[None]), 3, verbose=0).maps[0, ..., 0],
    )


def test_a_job_that_is_over_can_be_stopped_by_its_own_page(browser, server):
    given = {"image": browser.sample(1), "method": "gradients", "unit": 7}
    job = browser.json("POST", "/api/maps", given)[1]["job"]
    assert [e for e in browser.events() if e["job"] == job][-1]["state"] == "done"
    assert browser.ask("DELETE", f"/api/jobs/{job}")[0] == 204
    assert Browser(server).ask("DELETE", f"/api/jobs/{job}")[0] == 404
    assert browser.ask("DELETE", f"/api/jobs/{'0' * 16}")[0] == 404


def test_progress_is_told_and_a_job_can_be_stopped(browser):
    image = browser.sample(1)
    job = browser.json("POST", "/api/maps", {"image": image, "method": "smoothgrad", "unit": 3, "most": 1000})[1]["job"]
    seen = []
    for event in browser.events():
        seen.append(event)
        if event.get("done", 0) and len(seen) < 8:
            asked = time.perf_counter()
            browser.ask("DELETE", f"/api/jobs/{job}")
    assert time.perf_counter() - asked < 1
    assert seen[-1]["state"] == "stopped"
    told = [(e["done"], e["of"]) for e in seen if e.get("of")]
    assert told[0][0] < 25 and {of for _, of in told} == {25}


def test_warnings_are_on_the_card(loaded, monkeypatch):
    def noted(*given):
        warning.warn("Look \x1b[2J here.")
        return np.zeros((2, 2), "<f4")

    monkeypatch.setattr(work, "explained", noted)
    with running(loaded) as server:
        browser = Browser(server)
        image = browser.sample(0)
        for unit in (1, 2):  # not on the first one only
            assert browser.explain(image, "gradients", unit)["notes"] == [r"Look \x1b[2J here."]


def test_a_map_is_computed_once_for_all(server, monkeypatch):
    computed, explained = [], work.explained
    monkeypatch.setattr(work, "explained", lambda *given: computed.append(given) or explained(*given))
    found = []

    def ask():
        browser = Browser(server)
        found.append(browser.explain(browser.sample(4), "smoothgrad", 5, most=20)["map"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(computed) == 1 and len(found) == 4 and len(set(found)) == 1


def test_grad_cam_does_not_wait_for_the_rise_of_another(server):
    """Its own time and one second more, and it is warm."""
    ann, bob = Browser(server), Browser(server)
    image = bob.sample(5)
    bob.explain(image, "gradcam", 0)
    start = time.perf_counter()
    bob.explain(image, "gradcam", 1)
    alone = time.perf_counter() - start
    asked = {"image": ann.sample(5), "method": "rise", "unit": 1, "most": 1000}
    job = ann.json("POST", "/api/maps", asked)[1]["job"]
    assert within(5, lambda: server.room.lanes.running[LONG] is not None)
    start = time.perf_counter()
    bob.explain(image, "gradcam", 2)
    assert time.perf_counter() - start < 3 * alone + 1  # which share the cores
    assert server.room.lanes.running[LONG] is not None
    ann.ask("DELETE", f"/api/jobs/{job}")


def test_four_people_on_one_model(server):
    """Each gets what the library computes, while all compute."""
    maps, expected = {}, {}
    for n in range(4):
        x = server.room.loaded.preprocess(scene(n))
        expected[n] = ke.gradcam(server.room.loaded.model, x, n, verbose=0).maps[0, ..., 0]

    def ask(n):
        browser = Browser(server)
        image = browser.sample(n)
        browser.json("POST", "/api/maps", {"image": image, "method": "smoothgrad", "unit": n, "most": 30})
        maps[n] = values(browser, browser.explain(image, "gradcam", n))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for n in range(4):
        close(maps[n], expected[n])


def test_the_jobs_of_a_closed_page_end(server, monkeypatch):
    monkeypatch.setattr(pages, "GONE", 0.5)
    browser = Browser(server)
    image = browser.sample(6)
    for most in (900, 901):
        browser.json("POST", "/api/maps", {"image": image, "method": "rise", "unit": 1, "most": most})
    session = next(v for k, v in browser.cookies.items() if k.startswith("session"))
    assert server.room.pages.number(session) == 2
    stream = browser.events()
    next(stream)
    time.sleep(1)
    assert server.room.pages.number(session) == 2  # it listens
    stream.close()
    assert within(6, lambda: server.room.pages.number(session) == 0)
    assert within(3, lambda: server.room.lanes.running[LONG] is None and not server.room.lanes.waiting[LONG])
    assert within(3, lambda: not [key for key in server.room.pages.pages if key[0] == session])


def test_a_stream_ends_when_nothing_is_under_way(browser):
    assert list(browser.events(5)) == []


def test_exports(browser):
    image = browser.sample(2)
    found = browser.explain(image, "gradcam", 8)
    card = {"map": found["map"], "method": "gradcam", "label": "gradcam <b>&", "seconds": 0.2}
    shown = {"image": image, "unit": "cross", "cards": [card, card]}
    status, content = browser.ask("POST", "/api/arrays", json.dumps(shown))
    arrays = np.load(io.BytesIO(content), allow_pickle=False)
    assert status == 200 and sorted(arrays) == ["gradcam__b__", "gradcam__b___1", "image", "unit"]
    assert browser.headers["content-disposition"].startswith("attachment")
    np.testing.assert_array_equal(arrays["gradcam__b__"], values(browser, found))
    status, content = browser.ask("POST", "/api/report", json.dumps(shown))
    assert status == 200 and b"gradcam &lt;b&gt;" in content and b"<b>&" not in content
    assert browser.headers["content-disposition"].startswith("attachment")
    for wrong in (
        {},
        {"image": image, "cards": []},
        {"image": image, "cards": [3]},
        {"image": image, "cards": [{"map": "x"}]},
    ):
        assert browser.json("POST", "/api/report", wrong)[0] == 400
    gone = {"image": image, "cards": [card | {"map": "0" * 32}]}
    assert browser.json("POST", "/api/report", gone)[0] == 404


def test_what_is_compiled_first_is_reported():
    with running(warm=True) as warm:
        browser = Browser(warm)
        assert "gradcam" in browser.json("GET", "/api/status")[1]["preparing"] or keras.backend.backend() == "torch"
        assert within(120, lambda: browser.json("GET", "/api/status")[1]["preparing"] == [])
        assert browser.json("GET", "/api/status")[1]["layers"]
        assert within(120, lambda: "attention_rollout" in browser.json("GET", "/api/status")[1]["unmet"])
