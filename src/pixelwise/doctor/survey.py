"""All pairs of some datasets looked at, by as many processes as the work is worth."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.pairs import Pairs
from pixelwise.doctor.facts import MaskFacts, PairFacts, PhotoFacts, pair_facts
from pixelwise.doctor.findings import Advance, Place
from pixelwise.errors import DataError
from pixelwise.labels import ClassTable
from pixelwise.machine import cores

_WORTH_PROCESSES = 200  # starting them takes about as long as looking at so many small photos
_MOST_PROCESSES = 16
_AT_ONCE = 16


def rank(split: str) -> int:
    """0 for a split to learn from, by its name: train, Training, trainval, train_aug; 1 for validation; else 2."""
    name = split.lower()
    return 0 if name.startswith("train") else 1 if name.startswith("val") else 2


@dataclass(frozen=True)
class SplitFacts:
    """What is known of a split.

    Attributes:
        name: of the split.
        classes: of its masks.
        pairs: in the order of the dataset.
        unpaired: files without a partner.
    """

    name: str
    classes: ClassTable
    pairs: tuple[PairFacts, ...]
    unpaired: tuple[Path, ...]

    @property
    def learns(self) -> bool:
        """Whether it is there to be learnt from."""
        return rank(self.name) == 0

    @cached_property
    def photos(self) -> list[tuple[PairFacts, PhotoFacts]]:
        """The pairs whose photo can be read."""
        return [(pair, pair.photo) for pair in self.pairs if isinstance(pair.photo, PhotoFacts)]

    @cached_property
    def masks(self) -> list[tuple[PairFacts, MaskFacts]]:
        """The pairs whose mask can be read."""
        return [(pair, pair.mask) for pair in self.pairs if isinstance(pair.mask, MaskFacts)]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Pixels of each class in each mask that can be read: int64 (masks, classes)."""
        rows = [mask.counts[: len(self.classes)] for _, mask in self.masks]
        return np.stack(rows) if rows else np.zeros((0, len(self.classes)), np.int64)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Pixels of each class: int64 (classes,)."""
        pixels: NDArray[np.int64] = self.counts.sum(axis=0)
        return pixels

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each class of the pixels that are of some class: float64 (classes,), 0 to 1."""
        pixels = self.pixels
        shares: NDArray[np.float64] = pixels / max(1, int(pixels.sum()))
        return shares

    @property
    def photos_with(self) -> NDArray[np.int64]:
        """In how many photos each class occurs: int64 (classes,)."""
        photos: NDArray[np.int64] = (self.counts > 0).sum(axis=0)
        return photos


def look_at(datasets: Sequence[Pairs], *, deep: bool, advance: Advance) -> tuple[SplitFacts, ...]:
    """Look at every pair of every dataset.

    Args:
        datasets: what to look at.
        deep: decode the photos, too.
        advance: called with 1 after each pair.

    Raises:
        DataError: a process was ended from outside.
    """
    places = [Place(number, index) for number, dataset in enumerate(datasets) for index in range(len(dataset))]
    found: list[list[PairFacts]] = [[] for _ in datasets]
    for pair in _looked(datasets, places, deep):
        found[pair.place.dataset].append(pair)
        advance(1)
    return tuple(
        SplitFacts(dataset.split, dataset.classes, tuple(pairs), tuple(dataset.unpaired))
        for dataset, pairs in zip(datasets, found, strict=True)
    )


def _looked(datasets: Sequence[Pairs], places: Sequence[Place], deep: bool) -> Iterator[PairFacts]:
    if not deep:  # decoding alone leaves the interpreter to other threads
        with ThreadPoolExecutor(max_workers=4) as pool:
            yield from pool.map(lambda place: pair_facts(datasets[place.dataset], place, deep=False), places)
        return
    processes = min(cores(), _MOST_PROCESSES)
    if processes == 1 or len(places) < _WORTH_PROCESSES:
        yield from (pair_facts(datasets[place.dataset], place, deep=True) for place in places)
        return
    # Not forked: a progress bar runs a thread, and a fork in the middle of what a thread does may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start, (tuple(datasets),)) as executor:
        try:
            with _interrupts_held():
                looked = executor.map(_look, places, chunksize=_AT_ONCE)
            yield from looked
        except BrokenProcessPool as error:
            raise DataError(
                "A process that looked at the files was ended from outside, perhaps for want of memory; close other "
                "programs, or scale the largest photos down."
            ) from error


_datasets: tuple[Pairs, ...] = ()
"""Those of a worker process, given to it once rather than with each pair."""


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C, not even while they import: their parent answers it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where `_start` alone sees to it
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(datasets: tuple[Pairs, ...]) -> None:
    global _datasets
    _datasets = datasets
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _look(place: Place) -> PairFacts:
    return pair_facts(_datasets[place.dataset], place, deep=True)
