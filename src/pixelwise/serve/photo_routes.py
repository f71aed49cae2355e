"""The routes for photos: `/v1/segment`, and `/v1/models`, which says what there is to segment them with."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, Literal, TypeVar

import anyio
import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from pixelwise.cli_options import parse_size
from pixelwise.errors import PixelwiseError
from pixelwise.masks import encode_mask
from pixelwise.segmentation import Segmentation
from pixelwise.segmenter import Size
from pixelwise.serve.problems import PROBLEM, Problem
from pixelwise.serve.service import Service

T = TypeVar("T")
_SHOWN = 1600  # longest side of a photo that is sent back
_IN_MEMORY = 1 << 20  # of a body; the rest of it waits on disk, lest slow senders fill the memory
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
MaskForm = Literal["png", "ids", "rle", "none"]


class _Asked(BaseModel, extra="forbid"):
    """The parameters of a request for a photo's segmentation; one that is misspelt is no reason to answer another."""

    model: Annotated[str | None, Field(description="A name from /v1/models; the first by default.")] = None
    size: Annotated[
        str, Field(description="Longer side at which the network sees the photo: pixels, `native` or `auto`.")
    ] = "auto"
    flip: Annotated[bool, Field(description="Average with the mirrored photo; twice the time.")] = False
    mask: Annotated[
        MaskForm,
        Field(description="The mask's form in JSON: palette PNG, grey PNG of class ids, COCO's RLE, none."),
    ] = "png"
    confidence: Annotated[bool, Field(description="Also each pixel's confidence, a grey PNG, 255 for 1.")] = False
    photo: Annotated[
        bool, Field(description=f"Also the photo as it was read, upright: a JPEG, at most {_SHOWN} pixels a side.")
    ] = False


def photo_routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()
    problems: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 404, 408, 413, 415, 422, 429, 503), PROBLEM)

    @router.get("/v1/models", responses={401: PROBLEM})
    async def models() -> dict[str, Any]:
        """The models that are loaded, with their classes, and others that will be once they are asked for."""
        loaded = service.models.loaded
        return {
            "default": service.models.default,
            "others": [name for name in await service.models.known() if name not in loaded],
            "models": [
                {
                    "name": name,
                    "engine": f"{segmenter.engine.name}, {segmenter.engine.precision}",
                    "classes": segmenter.classes.to_json(),
                }
                for name, segmenter in loaded.items()
            ],
        }

    @router.post(
        "/v1/segment",
        openapi_extra=_PHOTO,
        responses={200: {"content": {"image/png": {}}, "description": "The answer."}, **problems},
    )
    async def segment(
        request: Request,
        asked: Annotated[_Asked, Query()],
    ) -> Response:
        """Label every pixel of a photo.

        The photo is a form's file `image`, the body itself, or base64 in JSON. The answer is JSON, or with `Accept:
        image/png` the mask alone: class ids with a palette. Nothing of the photo is kept.
        """
        size, model = _size(asked.size), asked.model or service.models.default
        finish: Callable[[Segmentation], bytes | dict[str, Any]] = (
            _png
            if "image/png" in request.headers.get("accept", "")
            else lambda found: _answer(found, asked, model=model)
        )
        try:
            service.admit()
        except Problem:  # told once the photo is here, unread: who still sends might not hear it
            await _within(service.limits.upload, _passed_over(request))
            raise
        data = await _within(service.limits.upload, _photo_of(request))
        made = await service.segment(data, finish, model=asked.model, size=size, flip=asked.flip)
        return Response(made, media_type="image/png") if isinstance(made, bytes) else JSONResponse(made)

    return router


def _size(text: str) -> Size:
    try:
        return parse_size(text)
    except PixelwiseError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error).removeprefix("--")) from error


async def _within(seconds: float, arriving: Awaitable[T]) -> T:
    """What arrives, if it does so whole and in time."""
    try:
        with anyio.fail_after(seconds):
            return await arriving
    except TimeoutError as error:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, f"The photo did not arrive within {seconds:g} s.") from error
    except ClientDisconnect as error:  # nobody hears it; but it is no error of the server's, and none for its log
        raise Problem(HTTPStatus.BAD_REQUEST, "The connection ended before the photo was whole.") from error


async def _passed_over(request: Request) -> None:
    async for _ in request.stream():
        pass


async def _photo_of(request: Request) -> bytes:
    """The photo's file out of a body of any of the three kinds."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _of_form(request)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return await _body(request)
    if kind == "application/json":
        return _of_json(await _body(request))
    raise Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Send the photo as multipart/form-data with a file `image`, as image/* or application/octet-stream, or as "
        'application/json with base64: {"image": "..."}.',
    )


async def _of_form(request: Request) -> bytes:
    async with request.form(max_files=1, max_fields=len(_Asked.model_fields)) as form:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The form has no file called `image`.")
        _check_alone(form)
        return await file.read()


async def _body(request: Request) -> bytes:
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        async for chunk in request.stream():
            file.write(chunk)
        file.seek(0)
        return file.read()


def _of_json(body: bytes) -> bytes:
    try:
        content = json.loads(body)
        photo = base64.b64decode(content["image"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError) as error:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, 'The body is not JSON of the form {"image": "BASE64"}.'
        ) from error
    _check_alone(content)
    return photo


def _check_alone(given: Iterable[str]) -> None:
    """See that nothing is asked for beside the photo, where it would be passed over."""
    if others := [f"{name[:40]!r}" for name in given if name != "image"]:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The body has {', '.join(others[:3])} beside `image`; what is asked for belongs in the address: "
            "/v1/segment?model=NAME&size=512.",
        )


def _png(found: Segmentation) -> bytes:
    return encode_mask(found.mask, found.table)


def _grey(values: NDArray[np.uint8]) -> str:
    """uint8 (H, W) as a grey PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    """RGB uint8 (H, W, 3) as a JPEG in base64."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((_SHOWN, _SHOWN))
    image.save(buffer, "JPEG", quality=90)
    return base64.b64encode(buffer.getvalue()).decode()


def _answer(found: Segmentation, asked: _Asked, *, model: str) -> dict[str, Any]:
    told = {"model": model, **found.to_json()}
    del told["name"]
    if asked.mask == "png":
        told["mask"] = {"png": base64.b64encode(_png(found)).decode()}
    elif asked.mask == "ids":
        told["mask"] = {"ids": _grey(found.mask)}
    elif asked.mask == "rle":
        told["mask"] = {"rle": {str(each.id): runs(found.mask == each.id) for each in found.classes}}
    if asked.confidence:
        told["confidence"] = _grey(np.round(found.confidence * 255).astype(np.uint8))
    if asked.photo:
        told["photo"] = _jpeg(found.photo)
    return told


def runs(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask, bool (H, W), in COCO's uncompressed form: runs of 0 and 1 in turn, column by column, 0 first."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}
