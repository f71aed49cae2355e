"""What answers requests: decoding apart, a bounded queue, deadlines, and the models behind them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import anyio
import anyio.to_process
import anyio.to_thread
import numpy as np
from anyio import BrokenWorkerProcess

from pixelwise.api import load
from pixelwise.errors import ImageError, PixelwiseError
from pixelwise.images import Photo
from pixelwise.machine import cores
from pixelwise.segmentation import Segmentation
from pixelwise.segmenter import Segmenter, Size
from pixelwise.serve.decode import decode
from pixelwise.serve.problems import Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take.

    Attributes:
        max_bytes: of its body.
        max_pixels: of its photo.
        queue: how many requests may wait beside those that are computed.
        deadline: seconds from when its body is there; what has waited longer never reaches a model.
        upload: seconds for its body to arrive.
        decode: seconds for its photo to be decoded.
    """

    max_bytes: int = 32 << 20
    max_pixels: int = 50_000_000
    queue: int = 16
    deadline: float = 30.0
    upload: float = 60.0
    decode: float = 10.0


class Service:
    """Models, and who may use them when.

    Args:
        models: what to load: names from `pixelwise models`, or directories, by what requests call them.
        limits: what a request may take.
        load_model: other than `pixelwise.load`, for tests.
    """

    def __init__(
        self,
        models: Mapping[str, str],
        *,
        limits: Limits | None = None,
        load_model: Callable[[str, int], Segmenter] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.streams = cores()
        self.segmenters: dict[str, Segmenter] = {}
        self.default = next(iter(models))
        self.inside = 0  # requests that are decoded, wait, or are computed
        self._models, self._load = dict(models), load_model or _load
        self._slots = anyio.Semaphore(self.streams)
        self._decoders = anyio.CapacityLimiter(self.streams)
        self._threads = anyio.CapacityLimiter(self.streams)
        self._typical = 0.1  # seconds that a photo takes, a moving average

    @property
    def ready(self) -> bool:
        """Whether all models are loaded."""
        return len(self.segmenters) == len(self._models)

    async def start(self) -> None:
        """Load the models, and start a decoder, so that the first request need not.

        Raises:
            PixelwiseError: a model cannot be loaded.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._warm_decoder)
            for name, model in self._models.items():
                segmenter = await anyio.to_thread.run_sync(self._load, model, self.streams)
                await anyio.to_thread.run_sync(segmenter.predict, np.zeros((64, 64, 3), np.uint8))
                self.segmenters[name] = segmenter

    async def _warm_decoder(self) -> None:
        with suppress(ImageError):  # as it refuses an empty file, it is up
            await anyio.to_process.run_sync(decode, b"", 1, cancellable=True, limiter=self._decoders)

    async def segment(
        self, data: bytes, finish: Callable[[Segmentation], T], *, model: str | None, size: Size, flip: bool
    ) -> T:
        """Decode, wait for a turn, segment, and make the answer.

        Args:
            data: the photo's file.
            finish: makes the answer, on the thread that segmented.
            model: what requests call it; None for the first.
            size: see `Segmenter`.
            flip: likewise.

        Raises:
            Problem: the photo is refused, the model unknown, or there is too much to do.
        """
        segmenter = self._segmenter(model, size=size, flip=flip)
        if self.inside >= self.streams + self.limits.queue:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "Too many requests are waiting; try again later.",
                retry_after=self._wait(),
            )
        self.inside += 1
        try:
            with anyio.move_on_after(self.limits.deadline) as scope:
                photo = await self._decoded(data)
                await self._slots.acquire()
            if scope.cancelled_caught:
                raise Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"The request waited longer than {self.limits.deadline:g} s; try again later.",
                    retry_after=self._wait(),
                )
            try:
                return await anyio.to_thread.run_sync(self._computed, segmenter, photo, finish, limiter=self._threads)
            finally:
                self._slots.release()
        finally:
            self.inside -= 1

    def _segmenter(self, model: str | None, *, size: Size, flip: bool) -> Segmenter:
        name = self.default if model is None else model
        if name not in self._models:
            raise Problem(
                HTTPStatus.NOT_FOUND, f"There is no model {name[:80]!r}; there are: {', '.join(self._models)}."
            )
        if name not in self.segmenters:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The model is still being loaded; try again.", retry_after=1)
        loaded = self.segmenters[name]
        return Segmenter(loaded.engine, loaded.classes, loaded.input_spec, size=size, flip=flip, tiling=loaded.tiling)

    async def _decoded(self, data: bytes) -> Photo:
        try:
            with anyio.fail_after(self.limits.decode):
                shape, pixels, notes = await anyio.to_process.run_sync(
                    decode, data, self.limits.max_pixels, cancellable=True, limiter=self._decoders
                )
        except ImageError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        except (TimeoutError, MemoryError, BrokenWorkerProcess) as error:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "The photo takes too long or too much memory to be decoded; save it anew, or smaller.",
            ) from error
        return Photo(np.frombuffer(pixels, np.uint8).reshape(*shape, 3), notes, "photo")

    def _computed(self, segmenter: Segmenter, photo: Photo, finish: Callable[[Segmentation], T]) -> T:
        start = time.perf_counter()
        try:
            answer = finish(segmenter(photo))
        except PixelwiseError as error:
            raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
        self._typical += 0.1 * (time.perf_counter() - start - self._typical)
        return answer

    def _wait(self) -> float:
        """Seconds until all who are inside now will be done."""
        return self._typical * self.inside / self.streams


def _load(model: str, streams: int) -> Segmenter:
    return load(model, engine="openvino", streams=streams)
