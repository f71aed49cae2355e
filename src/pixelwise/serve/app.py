"""The routes: the page at `/`, `/v1/segment`, `/v1/models`, `/health/live`, `/health/ready`, `/metrics`."""

from __future__ import annotations

import base64
import binascii
import hmac
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, Literal

import anyio
import numpy as np
from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import Headers, UploadFile
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixelwise import __version__
from pixelwise.cli_options import parse_size
from pixelwise.errors import PixelwiseError
from pixelwise.masks import encode_mask
from pixelwise.segmentation import Segmentation
from pixelwise.segmenter import Size
from pixelwise.serve.problems import MEDIA_TYPE, Problem, answer_with_problems, too_large
from pixelwise.serve.service import Service

_IN_MEMORY = 1 << 20  # of a body; the rest of it waits on disk, lest slow senders fill the memory
_DESCRIPTION = """Every pixel of a photo labelled by a CNN.

    curl -F image=@photo.jpg http://127.0.0.1:8000/v1/segment
    curl -F image=@photo.jpg -H 'Accept: image/png' http://127.0.0.1:8000/v1/segment > mask.png
"""
# Four by four pixels of one colour, so that the example can be tried.
_SMALL_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAFElEQVR42mM8UaHBAANMDEgANwcAR/QBcPbvf+MAAAAASUVORK5CYII="
_PHOTO = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "byte", "description": "base64"}},
                },
                "example": {"image": _SMALL_PNG},
            },
        },
    }
}
_PROBLEM: dict[str, Any] = {
    "description": "Problem details, RFC 9457.",
    "content": {
        MEDIA_TYPE: {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            },
            "example": {
                "type": "about:blank",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "The photo is not a picture of a kind that is read.",
            },
        }
    },
}
MaskForm = Literal["png", "ids", "rle", "none"]
_STATIC = Path(__file__).parent / "static"
_POLICY = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; media-src 'self' blob:"
"""What the page may load: nothing from elsewhere, whatever is in it."""


def create_app(service: Service, *, token: str | None = None) -> FastAPI:
    """The application.

    Args:
        service: answers; started and ready a moment after the application is.
        token: what requests have to bring as `Authorization: Bearer TOKEN`; None for nothing.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(service.start)
            yield

    app = FastAPI(
        title="pixelwise",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # it would load its scripts from elsewhere
        redoc_url=None,
        lifespan=life,
    )
    answer_with_problems(app)
    registry = CollectorRegistry()
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=service.limits.max_bytes)
    app.add_middleware(_StatedSize, largest=service.limits.max_bytes)
    app.add_middleware(_Telemetry, service=service, registry=registry)
    guarded = [Depends(_needs(token))] if token else []
    problems: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 404, 408, 413, 415, 422, 429, 503), _PROBLEM)

    @app.get("/health/live", tags=["health"])
    async def live() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "live"}

    @app.get("/health/ready", tags=["health"], responses={503: _PROBLEM})
    async def ready() -> dict[str, str]:
        """Whether all models are loaded."""
        if not service.ready:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Models are still being loaded.", retry_after=1)
        return {"status": "ready"}

    @app.get("/metrics", include_in_schema=False, dependencies=guarded)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models", dependencies=guarded, responses={401: _PROBLEM})
    async def models() -> dict[str, Any]:
        """The models that are loaded, with their classes."""
        return {
            "default": service.default,
            "models": [
                {
                    "name": name,
                    "engine": f"{segmenter.engine.name}, {segmenter.engine.precision}",
                    "classes": segmenter.classes.to_json(),
                }
                for name, segmenter in service.segmenters.items()
            ],
        }

    @app.post(
        "/v1/segment",
        dependencies=guarded,
        openapi_extra=_PHOTO,
        responses={200: {"content": {"image/png": {}}, "description": "The answer."}, **problems},
    )
    async def segment(
        request: Request,
        model: Annotated[str | None, Query(description="A name from /v1/models; the first by default.")] = None,
        size: Annotated[
            str, Query(description="Longer side at which the network sees the photo: pixels, `native` or `auto`.")
        ] = "auto",
        flip: Annotated[bool, Query(description="Average with the mirrored photo; twice the time.")] = False,
        mask: Annotated[
            MaskForm,
            Query(description="The mask's form in JSON: palette PNG, grey PNG of class ids, COCO's RLE, none."),
        ] = "png",
        confidence: Annotated[bool, Query(description="Also each pixel's confidence, a grey PNG, 255 for 1.")] = False,
    ) -> Response:
        """Label every pixel of a photo.

        The photo is a form's file `image`, the body itself, or base64 in JSON. The answer is JSON, or with `Accept:
        image/png` the mask alone: class ids with a palette. Nothing of the photo is kept.
        """
        parsed = _size(size)
        form = "image" if "image/png" in request.headers.get("accept", "") else mask
        finish: Callable[[Segmentation], bytes | dict[str, Any]] = (
            _png
            if form == "image"
            else lambda found: _answer(found, form, model=model or service.default, confidence=confidence)
        )
        data = await _photo_of(request, service.limits.upload)
        made = await service.segment(data, finish, model=model, size=parsed, flip=flip)
        return Response(made, media_type="image/png") if isinstance(made, bytes) else JSONResponse(made)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "page.html", headers={"Content-Security-Policy": _POLICY})

    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


def _needs(token: str) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise Problem(HTTPStatus.UNAUTHORIZED, "Give the token that the server was started with, as a bearer.")

    return check


def _size(text: str) -> Size:
    try:
        return parse_size(text)
    except PixelwiseError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error


async def _photo_of(request: Request, seconds: float) -> bytes:
    """The photo's file out of a body of any of the three kinds."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        with anyio.fail_after(seconds):
            if kind == "multipart/form-data":
                return await _of_form(request)
            if kind.startswith("image/") or kind == "application/octet-stream":
                return await _body(request)
            if kind == "application/json":
                return _of_json(await _body(request))
    except TimeoutError as error:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, f"The photo did not arrive within {seconds:g} s.") from error
    raise Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Send the photo as multipart/form-data with a file `image`, as image/* or application/octet-stream, or as "
        'application/json with base64: {"image": "..."}.',
    )


async def _of_form(request: Request) -> bytes:
    async with request.form(max_files=1, max_fields=1) as form:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The form has no file called `image`.")
        return await file.read()


async def _body(request: Request) -> bytes:
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        async for chunk in request.stream():
            file.write(chunk)
        file.seek(0)
        return file.read()


def _of_json(body: bytes) -> bytes:
    try:
        return base64.b64decode(json.loads(body)["image"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError) as error:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, 'The body is not JSON of the form {"image": "BASE64"}.'
        ) from error


def _png(found: Segmentation) -> bytes:
    return encode_mask(found.mask, found.table)


def _grey(values: NDArray[np.uint8]) -> str:
    """uint8 (H, W) as a grey PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def _answer(found: Segmentation, form: str, *, model: str, confidence: bool) -> dict[str, Any]:
    told = {"model": model, **found.to_json()}
    del told["name"]
    if form == "png":
        told["mask"] = {"png": base64.b64encode(_png(found)).decode()}
    elif form == "ids":
        told["mask"] = {"ids": _grey(found.mask)}
    elif form == "rle":
        told["mask"] = {"rle": {str(each.id): runs(found.mask == each.id) for each in found.classes}}
    if confidence:
        told["confidence"] = _grey(np.round(found.confidence * 255).astype(np.uint8))
    return told


def runs(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask, bool (H, W), in COCO's uncompressed form: runs of 0 and 1 in turn, column by column, 0 first."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


class _StatedSize:
    """Refuses a body by the size that its headers state; what arrives in fact is counted by Starlette."""

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self._app, self._largest = app, largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stated = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        refused = stated.isdecimal() and int(stated) > self._largest
        await (too_large() if refused else self._app)(scope, receive, send)


class _Telemetry:
    """Counts answers for Prometheus, around all else; nobody else is told."""

    def __init__(self, app: ASGIApp, service: Service, registry: CollectorRegistry) -> None:
        self._app = app
        self._answers = Counter("pixelwise_answers", "By route and status", ["path", "status"], registry=registry)
        self._seconds = Histogram("pixelwise_seconds", "From headers to answer, by route", ["path"], registry=registry)
        inside = Gauge("pixelwise_inside", "Requests that are decoded, wait or are computed", registry=registry)
        inside.set_function(lambda: service.inside)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "other")
                self._answers.labels(path, str(message["status"])).inc()
                self._seconds.labels(path).observe(time.perf_counter() - start)
            await send(message)

        await self._app(scope, receive, told)
