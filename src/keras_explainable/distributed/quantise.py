"""Maps as they are stored: as 8-bit or 16-bit numbers between the smallest and the largest value of each map."""

import numpy as np

STEPS = {"uint8": 255.0, "float16": 1.0}  # the stored number for the largest value of a map


def stored(maps: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The maps (N, h, w, K) in this type, and the smallest and largest value (N, K) of each.

    A map with values that are not finite has NaN as both, and is NaN when it is read. float32 is stored as it is."""
    maps = np.asarray(maps, "float32")
    low, high = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
    if dtype == "float32":
        return maps, low, high
    finite = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(finite, low, np.nan), np.where(finite, high, np.nan)
    bottom, span = np.where(finite, low, 0), np.where(finite & (high > low), high - low, 1)
    shares = np.where(finite[:, None, None], maps, 0) - bottom[:, None, None]
    shares = np.clip(shares / span[:, None, None], 0, 1)
    return (np.rint(shares * 255) if dtype == "uint8" else shares).astype(dtype), low, high


def restored(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The maps (N, h, w, K) that were stored, as float32."""
    if values.dtype == "float32":
        return values
    share = values.astype("float32") / np.float32(STEPS[str(values.dtype)])
    return low[:, None, None] + share * (high - low)[:, None, None]


def resized(maps: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Maps (N, h, w, K) at the size of the images: rows (H, h) @ map @ columns (W, w) transposed."""
    return np.einsum("Hh,nhwk,Ww->nHWk", rows, maps, columns, optimize=True).astype("float32")
