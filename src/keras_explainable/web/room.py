"""What all pages of one model share: images, maps, jobs, and what is found out about the model."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

import keras_explainable as ke
from keras_explainable import viz
from keras_explainable.web import work
from keras_explainable.web.kept import Kept
from keras_explainable.web.lanes import LONG, QUICK, SYSTEM, Job, Lanes
from keras_explainable.web.pages import Pages
from keras_explainable.web.refusals import Refused
from keras_explainable.web.uploads import Photo, photo

MOST_JOBS = 60  # of a session
MOST_SESSIONS = 500
MAP_BYTES, IMAGE_BYTES = 256 << 20, 200 << 20
SAMPLES, SEED = 8, 7
WARM = (("gradcam", QUICK), ("full_gradients", LONG))


@dataclass(eq=False)
class Session:
    """What a browser may see: the names of its images and maps."""

    images: set[str] = field(default_factory=set)
    maps: set[str] = field(default_factory=set)


class Room:
    """A loaded model, and all that is kept for those who look at it."""

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded
        self.images, self.maps, self.tops = Kept(IMAGE_BYTES), Kept(MAP_BYTES), Kept(1 << 20)
        self.sessions: OrderedDict[str, Session] = OrderedDict()
        self.pages = Pages()
        self.lanes = Lanes(self.pages.tell)
        self.layers: dict[str, list[int]] | None = None
        self.unmet: dict[str, str] = {}
        self.preparing: list[str] = []
        self.lock, self.numbers = threading.Lock(), itertools.count()
        scenes, labels, _ = ke.demo.load_scenes(SAMPLES, seed=SEED)
        self.samples = [photo(viz.framing.resized(scene, loaded.size), "") for scene in scenes]
        self.sample_names = [", ".join(np.array(ke.demo.CLASSES)[row > 0]) for row in labels]

    def start(self) -> None:
        """Start the threads, and compile what is asked for first."""
        self.lanes.start()
        self._prepare("top classes", QUICK, lambda: work.top(self.loaded, self.samples[0].pixels))
        for method, lane in WARM:
            asked = work.Asked(self.samples[0].name, method, 0)
            self._prepare(method, lane, partial(work.explained, self.loaded, self.samples[0].pixels, asked))
        self._prepare("layers", QUICK, self._find_layers)
        for method in work.tried():
            self._prepare("methods", LONG, partial(self._try, method))

    def close(self) -> None:
        """End the threads."""
        self.lanes.close()

    def _prepare(self, name: str, lane: str, compute: Callable[[], Any]) -> None:
        """Compute something in a lane, after what people ask for. Its name is reported until it is there."""

        def run() -> dict:
            try:
                compute()
            finally:
                with self.lock:
                    self.preparing.remove(name)
            return {}

        self.preparing.append(name)
        self.lanes.submit(Job(SYSTEM, ""), f"prepare {next(self.numbers)}", lane, run)

    def _find_layers(self) -> None:
        found: dict[str, list[int]] = {}
        try:
            found = work.layers(self.loaded)
        finally:
            self.layers = found

    def _try(self, method: str) -> None:
        why = work.unmet(self.loaded, method)
        if why:
            self.unmet = {**self.unmet, method: why}

    def session(self, name: str) -> Session:
        """The session of a browser."""
        with self.lock:
            found = self.sessions.setdefault(name, Session())
            self.sessions.move_to_end(name)
            while len(self.sessions) > MOST_SESSIONS:
                self.sessions.popitem(last=False)
            return found

    def keep(self, session: str, image: Photo) -> None:
        """Keep an image for a session."""
        self.images.put(image.name, image, image.size)
        held = self.session(session).images
        held.add(image.name)
        for gone in [name for name in list(held) if self.images.get(name) is None]:
            held.discard(gone)

    def image(self, session: str, name: str) -> Photo:
        """An image of a session."""
        found = self.images.get(name) if name in self.session(session).images else None
        if found is None:
            raise Refused("This image is no longer here: give it again.", 404)
        return found

    def values(self, session: str, name: str) -> np.ndarray:
        """A map of a session."""
        found = self.maps.get(name) if name in self.session(session).maps else None
        if found is None:
            raise Refused("This map is no longer here: ask for it again.", 404)
        return found

    def ask_top(self, session: str, page: str, name: str) -> dict[str, Any]:
        """The top classes of an image, or the job that computes them."""
        image = self.image(session, name)
        found = self.tops.get(name)
        if found is not None:
            return found

        def compute() -> dict[str, Any]:
            known = work.top(self.loaded, image.pixels)
            self.tops.put(name, known, 1024)
            return known

        return self._submit(session, page, f"top {name}", QUICK, compute)

    def ask_map(self, session: str, page: str, asked: work.Asked) -> dict[str, Any]:
        """A map, or the job that computes it."""
        image = self.image(session, asked.image)
        key = sha256(repr(asked).encode()).hexdigest()[:32]
        known = self.maps.get(key)
        if known is not None:
            self.session(session).maps.add(key)
            return _described(key, known)

        def compute() -> dict[str, Any]:
            values = self.maps.get(key)
            if values is None:
                values = work.explained(self.loaded, image.pixels, asked)
                self.maps.put(key, values, values.nbytes)
            return _described(key, values)

        found = self._submit(session, page, key, asked.lane, compute)
        self.session(session).maps.add(key)
        return found

    def _submit(self, session: str, page: str, key: str, lane: str, compute: Callable) -> dict[str, Any]:
        if self.pages.number(session) >= MOST_JOBS:
            raise Refused(f"{MOST_JOBS} maps are waiting already, and that is the most: wait, or stop some.", 429)
        job = Job(session, page)
        self.pages.add(job)
        self.lanes.submit(job, key, lane, compute)
        return {"job": job.id}

    def stop(self, session: str, id: str) -> None:
        """Stop a job of a session."""
        job = self.pages.job(session, id)
        if job is None and self.pages.has_ended(session, id):
            return  # it was done before it could be stopped
        if job is None:
            raise Refused("There is no such job.", 404)
        self.lanes.stop(job)

    def look_after(self) -> None:
        """What must be done from time to time: pages that were closed, and steps that nobody waits for."""
        self.pages.leave(self.lanes.stop)
        self.lanes.leave_stuck()


def _described(key: str, values: np.ndarray) -> dict[str, Any]:
    return {"map": key, "height": values.shape[0], "width": values.shape[1]}
