"""What answers requests: decoding apart, a bounded queue, deadlines, and the models behind them."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
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
from pixelwise.serve.models import Models
from pixelwise.serve.problems import Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take.

    Attributes:
        max_bytes: of its body.
        max_pixels: of its photo, and of what the network sees of it at a size that was asked for.
        queue: how many requests may wait beside those that are computed.
        deadline: seconds from when its body is there; what has waited longer never reaches a model.
        upload: seconds for its body to arrive.
        decode: seconds for its photo to be decoded, from when a decoder has it.
    """

    max_bytes: int = 32 << 20
    max_pixels: int = 50_000_000
    queue: int = 32
    deadline: float = 30.0
    upload: float = 60.0
    decode: float = 10.0


class Service:
    """Models, and who may use them when.

    Args:
        models: what to load from the start: names from `pixelwise models`, or directories, by what requests call them.
        others: gives what else requests may name; it is loaded when it is asked for.
        limits: what a request may take.
    """

    def __init__(
        self,
        models: Mapping[str, str],
        *,
        others: Callable[[], Mapping[str, str]] = dict,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.streams = cores()
        self.models = Models(models, others=others, load=self._load)
        self.inside = 0  # requests that are decoded, wait, or are computed
        self._places = anyio.Semaphore(self.streams + 1)  # for photos in memory: those computed, and the next
        self._slots = anyio.Semaphore(self.streams)
        self._decoders = anyio.CapacityLimiter(self.streams)
        self._threads = anyio.CapacityLimiter(self.streams)
        self._typical = 0.1  # seconds that a photo takes, a moving average

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While this is entered, models are loaded, and a decoder, so that the first request need not wait for it."""
        async with anyio.create_task_group() as group, self.models.loading():
            group.start_soon(self._warm_decoder)
            yield

    def _load(self, model: str) -> Segmenter:
        return load(model, engine="openvino", streams=self.streams)

    async def _warm_decoder(self) -> None:
        # As it refuses an empty file, it is up; if it did not come up, requests have others tried.
        with suppress(ImageError, BrokenWorkerProcess, ProcessLookupError):
            await self._with_decoder(b"")

    def admit(self) -> None:
        """See that there is room for another request; cheap, to be asked before anything is read of it.

        Raises:
            Problem: there is none.
        """
        if self.inside >= self.streams + self.limits.queue:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "Too many requests are waiting; try again later.",
                retry_after=self._wait(),
            )

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
        self.admit()
        self.inside += 1
        try:
            loaded: Segmenter | None = None
            with anyio.move_on_after(self.limits.deadline) as waiting:
                loaded = await self.models.get(model)
                segmenter = Segmenter(
                    loaded.engine, loaded.classes, loaded.input_spec, size=size, flip=flip, tiling=loaded.tiling
                )
                async with self._places:  # so that most wait as files, which are small
                    photo = await self._decoded(data)
                    self._check_seen(segmenter, photo)
                    async with self._slots:
                        waiting.deadline = math.inf  # the wait is over; what is computed is answered
                        return await anyio.to_thread.run_sync(
                            self._computed, segmenter, photo, finish, limiter=self._threads
                        )
            if loaded is None:
                raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The model is being loaded; try again.", retry_after=5)
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"The request waited longer than {self.limits.deadline:g} s; try again later.",
                retry_after=self._wait(),
            )
        finally:
            self.inside -= 1

    async def _decoded(self, data: bytes) -> Photo:
        try:
            shape, pixels, notes = await self._with_decoder(data)
        except ImageError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        except (MemoryError, BrokenWorkerProcess, ProcessLookupError) as error:
            if _never_came_up(error):
                raise Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "The server could not start a decoder; try again later.",
                    retry_after=self._wait(),
                ) from error
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "The photo takes too long or too much memory to be decoded; save it anew, or smaller.",
            ) from error
        return Photo(np.frombuffer(pixels, np.uint8).reshape(*shape, 3), notes, "photo")

    async def _with_decoder(self, data: bytes) -> tuple[tuple[int, int], bytes, tuple[str, ...]]:
        """What `decode` answers. Once it has begun, no deadline ends it: that would take the decoder from the next."""
        return await anyio.to_process.run_sync(
            decode, data, self.limits.max_pixels, self.limits.decode, cancellable=False, limiter=self._decoders
        )

    def _check_seen(self, segmenter: Segmenter, photo: Photo) -> None:
        """See that what is asked for takes no longer than the largest photo may, however small this one is."""
        if not isinstance(segmenter.size, int):  # the photo's own size, which was checked, or the model's
            return
        height, width = segmenter.size_seen(*photo.pixels.shape[:2])
        if height * width > self.limits.max_pixels:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"At size {segmenter.size} the network would see {width:,} × {height:,} pixels, which is above the "
                f"limit of {self.limits.max_pixels:,}; give a smaller size.",
            )

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


def _never_came_up(error: Exception) -> bool:
    """Whether anyio's process ended before it had the photo, or was not there within 20 s; it has words only then."""
    return isinstance(error, ProcessLookupError) or (isinstance(error, BrokenWorkerProcess) and bool(error.args))
