"""Values of Quantus' metrics: python quantus_values.py IN.npz OUT.npz. Runs in an environment of its own, without ours.

IN has `maps` and `masks`, both (N, H, W), OUT an array (N,) for each metric, and for what is raised the error's name."""

import sys
import warnings

import numpy as np
import quantus

warnings.simplefilter("ignore")
RAW = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}


def metrics(number):
    """The metrics, of which top-k takes this many pixels."""
    return {
        "mass": quantus.RelevanceMassAccuracy(**RAW),
        "rank": quantus.RelevanceRankAccuracy(**RAW),
        "top_k": quantus.TopKIntersection(k=number, **RAW),
        "pointing": quantus.PointingGame(**RAW),
        "pointing_weighted": quantus.PointingGame(weighted=True, **RAW),
        "attribution": quantus.AttributionLocalisation(**RAW),
        "attribution_weighted": quantus.AttributionLocalisation(weighted=True, **RAW),
        "sparseness": quantus.Sparseness(**RAW | {"abs": True}),
        "complexity": quantus.Complexity(**RAW | {"abs": True}),
    }


def value(metric, maps, masks):
    """The values (N,) of a metric, or the name of the error."""
    x = np.zeros((len(maps), 3, *maps.shape[1:]), "float32")
    with np.errstate(all="ignore"):
        try:
            found = metric(
                model=None,
                x_batch=x,
                y_batch=np.zeros(len(maps), int),
                a_batch=maps[:, None].copy(),
                s_batch=masks[:, None],
                channel_first=True,
            )
        except Exception as error:
            return type(error).__name__
    return np.array(found, "float64")


def main(source, target):
    given = np.load(source)
    maps, masks = given["maps"], given["masks"]
    np.savez(target, **{name: value(one, maps, masks) for name, one in metrics(int(masks[0].sum())).items()})


if __name__ == "__main__":
    main(*sys.argv[-2:])
