"""The models that requests may name: those that are loaded from the start, and others once they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import anyio
import anyio.to_thread
import numpy as np
from anyio.abc import TaskGroup

from pixelwise.bundle import CONFIG
from pixelwise.errors import PixelwiseError
from pixelwise.segmenter import Segmenter
from pixelwise.serve.problems import Problem

_OTHERS = 3  # at once, of those that were asked for, lest they fill the memory


class Models:
    """Loads models, each once however many ask for it.

    Args:
        first: what is loaded from the start and stays: bundles' directories or names from `pixelwise models`, by what
            requests call them. The first of them is the default.
        others: gives, in the same form, what is loaded when it is asked for, and anew where a run wrote it anew; the
            three that were used last stay.
        load: how.
    """

    def __init__(
        self,
        first: Mapping[str, str],
        *,
        others: Callable[[], Mapping[str, str]],
        load: Callable[[str], Segmenter],
    ) -> None:
        self.default = next(iter(first))
        self._first, self._others, self._load = dict(first), others, load
        self._loaded: OrderedDict[str, Segmenter] = OrderedDict()
        self._origins: dict[str, tuple[str, int | None]] = {}  # of others: what was loaded, and when it was written
        self._loading: dict[str, _Loading] = {}
        self._group: TaskGroup | None = None
        self.failure: Exception | None = None
        """Why one of those from the start could not be loaded; there is nothing to serve then."""

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """While this is entered, models are loaded; those from the start at once, or else see `failure`."""
        async with anyio.create_task_group() as self._group:
            self._group.start_soon(self._load_first)
            yield

    @property
    def ready(self) -> bool:
        """Whether those from the start are there."""
        return self._first.keys() <= self._loaded.keys()

    @property
    def loaded(self) -> Mapping[str, Segmenter]:
        """Those that are there, by what requests call them; those from the start come first."""
        return {name: self._loaded[name] for name in [*self._first, *self._loaded] if name in self._loaded}

    async def known(self) -> dict[str, str]:
        """All that may be asked for."""
        return {**await anyio.to_thread.run_sync(self._others), **self._first}

    async def get(self, name: str | None) -> Segmenter:
        """A model by what requests call it, None for the default; loaded first where it is not there.

        Raises:
            Problem: there is none of that name, or it cannot be loaded.
        """
        name = self.default if name is None else name
        if name in self._loaded and not self._outdated(name):
            self._loaded.move_to_end(name)
            return self._loaded[name]
        if name not in self._loading:
            if name in self._first:
                raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The model is still being loaded.", retry_after=1)
            self._begin(name, await self.known())
        loading = self._loading[name]
        await loading.done.wait()
        if isinstance(loading.outcome, Exception):
            raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, f"{name} cannot be loaded: {loading.outcome}")
        assert loading.outcome is not None
        return loading.outcome

    def _outdated(self, name: str) -> bool:
        model, written = self._origins.get(name, ("", None))
        return written is not None and _written(model) not in (written, None)

    def _begin(self, name: str, known: Mapping[str, str]) -> None:
        if name not in known:
            raise Problem(HTTPStatus.NOT_FOUND, f"There is no model {name[:80]!r}; there are: {', '.join(known)}.")
        if name not in self._loading:  # it may have been asked for by another while we looked
            assert self._group is not None
            self._loading[name] = _Loading()
            self._group.start_soon(self._load_other, name, known[name])

    async def _load_first(self) -> None:
        try:
            for name, model in self._first.items():
                self._loaded[name] = await anyio.to_thread.run_sync(self._loaded_and_tried, model)
        except PixelwiseError as error:
            self.failure = PixelwiseError(f"{name} cannot be loaded: {error}")
        except Exception as error:  # of whatever kind: who runs the service ends it and says why
            self.failure = error

    async def _load_other(self, name: str, model: str) -> None:
        loading, written = self._loading[name], _written(model)
        try:
            loading.outcome = self._loaded[name] = await anyio.to_thread.run_sync(self._loaded_and_tried, model)
            self._origins[name] = model, written
        except Exception as error:  # of whatever kind: one model must not end the service
            loading.outcome = error
        finally:
            del self._loading[name]  # an error is told to those who wait for it; who asks again has it tried again
            loading.done.set()
        others = [each for each in self._loaded if each not in self._first]
        for each in others[:-_OTHERS]:
            del self._loaded[each]

    def _loaded_and_tried(self, model: str) -> Segmenter:
        segmenter = self._load(model)
        segmenter.predict(np.zeros((64, 64, 3), np.uint8))  # the first time takes longer
        return segmenter


def _written(model: str) -> int | None:
    """When a bundle was written, in nanoseconds since 1970; None where there is no directory of that name."""
    with suppress(OSError):
        return (Path(model) / CONFIG).stat().st_mtime_ns
    return None


class _Loading:
    """A model on its way, and what became of it."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.outcome: Segmenter | Exception | None = None
