"""What is downloaded: the maps that a page shows, as a report or as arrays."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_explainable import errors, registry, viz
from keras_explainable.web.refusals import Refused
from keras_explainable.web.room import Room
from keras_explainable.web.uploads import Photo

MOST_CARDS, MOST_TEXT = 120, 200


@dataclass(frozen=True)
class Card:
    """A map with what the page calls it."""

    method: str
    label: str
    values: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Shown:
    """The image and the maps that a page shows."""

    image: Photo
    unit: str
    cards: list[Card]

    @classmethod
    def of(cls, given: dict[str, Any], room: Room, session: str) -> "Shown":
        """What a request names. Raise `Refused` if it is not of this session."""
        named, image = given.get("cards"), given.get("image")
        if not isinstance(named, list) or not 0 < len(named) <= MOST_CARDS or not isinstance(image, str):
            raise Refused(f"An image and 1 to {MOST_CARDS} maps were expected.")
        cards = [_card(one, room, session) for one in named]
        return cls(room.image(session, image), _text(given.get("unit")), cards)


def _card(given: Any, room: Room, session: str) -> Card:
    if not isinstance(given, dict) or not isinstance(given.get("map"), str) or given.get("method") not in _methods():
        raise Refused("A map with its method was expected.")
    took: Any = given.get("seconds")
    seconds = float(took) if type(took) in (int, float) and 0 <= took < 1e6 else 0.0
    return Card(given["method"], _text(given.get("label")), room.values(session, given["map"]), seconds)


def _methods() -> list[str]:
    return list(registry.METHODS)


def _text(given: Any) -> str:
    return errors.printable(given)[:MOST_TEXT] if isinstance(given, str) else ""


def arrays(shown: Shown, room: Room) -> bytes:
    """A `.npz` file: the image as the model sees it, and each map by its label."""
    buffer, found = io.BytesIO(), {"image": shown.image.pixels, "unit": np.array(shown.unit)}
    for i, card in enumerate(shown.cards):
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in card.label) or card.method
        found[plain if plain not in found else f"{plain}_{i}"] = card.values
    np.savez_compressed(buffer, allow_pickle=False, **found)
    return buffer.getvalue()


def report(shown: Shown, room: Room) -> bytes:
    """An HTML file that shows the maps side by side."""
    model = getattr(room.loaded.model, "name", type(room.loaded.model).__name__)
    subject = viz.html_report.Subject(shown.image.pixels, "image", shown.unit, "")
    rows = []
    for card in shown.cards:
        about = registry.METHODS[card.method]
        rows.append(
            viz.html_report.Row(
                card.label or card.method,
                about.family,
                about.summary,
                about.reference,
                card.seconds,
                maps=[card.values],
            )
        )
    page = viz.html_report.report("What does the network look at?", f"Model {model}.", [subject], rows, [])
    return page.encode()
