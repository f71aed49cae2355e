"""Errors as RFC 9457 problem details: a status, a title that stays, and a sentence that says what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
PROBLEM: dict[str, Any] = {
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
"""How OpenAPI is told of one."""


class Problem(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        detail: one sentence that says what is wrong and what to do.
        retry_after: seconds after which another try may do better.
    """

    def __init__(self, status: HTTPStatus, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after = status, detail, retry_after


def answer_with_problems(app: FastAPI) -> None:
    """Make every error of an application a problem, those of the framework, too."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> JSONResponse:
        headers = {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
        if error.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return _response(error.status, error.detail, headers)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return too_large()
        return _response(HTTPStatus(error.status_code), str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        return _response(HTTPStatus.UNPROCESSABLE_ENTITY, f"The request does not validate: {said}.", {})

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:  # which goes on to the log
        detail = "Something went wrong in the server; its log says what."
        return _response(HTTPStatus.INTERNAL_SERVER_ERROR, detail, {})


def too_large() -> JSONResponse:
    """The answer to a body above the limit; it ends the connection, or the server would read the rest to drop it."""
    detail = "The request is larger than this server takes; send the photo smaller."
    return _response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, {"Connection": "close"})


def misdirected() -> JSONResponse:
    """The answer to a request for another name than this server's."""
    detail = "This server answers to localhost alone; behind a proxy that sends another name, start it with a token."
    return _response(HTTPStatus.MISDIRECTED_REQUEST, detail, {})


def _response(status: HTTPStatus, detail: str, headers: dict[str, str]) -> JSONResponse:
    content: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return JSONResponse(content, status.value, headers, MEDIA_TYPE)
