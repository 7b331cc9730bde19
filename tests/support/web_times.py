"""How long the page's server takes, in seconds: `PYTHONPATH=src:tests python -m support.web_times demo MobileNetV2`.

The values are medians over units of one image, of a request over HTTP as the page sends it. Nothing else should run."""

import statistics
import sys
import time

import keras_explainable as ke
from support.web_server import Browser, running, within

UNITS = 4  # of ten
LONG = 600.0


def measure(loaded):
    """The seconds for a warm Grad-CAM from the request to the map, of which it computes, the same while another person's
    RISE runs, and from Stop until nothing runs."""
    with running(loaded, warm=True) as server:
        assert within(LONG, lambda: not server.room.preparing)
        one, other = Browser(server), Browser(server)
        image = one.sample(0)
        one.explain(image, "gradcam", 2 * UNITS)  # the first request

        def click(unit):
            start = time.perf_counter()
            found = one.explain(image, "gradcam", unit)
            status, values = one.ask("GET", f"/api/maps/{found['map']}")
            assert status == 200 and len(values) == 4 * found["height"] * found["width"]
            return time.perf_counter() - start, found["seconds"]

        alone = [click(unit) for unit in range(UNITS)]
        given = {"image": other.sample(1), "method": "rise", "unit": 0, "most": 1000}
        job = other.json("POST", "/api/maps", given)[1]["job"]
        assert within(LONG, lambda: server.room.lanes.running["long"] is not None)
        time.sleep(1)
        beside = [click(unit) for unit in range(UNITS, 2 * UNITS)][1:]
        still = server.room.lanes.running["long"] is not None
        start = time.perf_counter()
        assert other.ask("DELETE", f"/api/jobs/{job}")[0] in (200, 204)
        assert within(LONG, lambda: server.room.lanes.running["long"] is None)
        stop = time.perf_counter() - start
    (alone, computed), (beside, own) = (map(statistics.median, zip(*rows, strict=True)) for rows in (alone, beside))
    return {
        "Grad-CAM": alone,
        "of which it computes": computed,
        "Grad-CAM beside RISE": beside,
        "of which it computes, beside RISE": own,
        "RISE still ran": still,
        "Stop": stop,
    }


def main():
    for name in sys.argv[1:] or ["demo"]:
        loaded = ke.load() if name == "demo" else ke.load(name, weights=None, size=(224, 224))
        print(name)
        for what, value in measure(loaded).items():
            print(f"  {what:36} {value if isinstance(value, bool) else f'{value:.3f} s'}")


if __name__ == "__main__":
    main()
