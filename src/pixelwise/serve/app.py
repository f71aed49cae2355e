"""The application: the page at `/`, routes for photos, runs and health, and what all requests pass through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.staticfiles import StaticFiles

from pixelwise import __version__
from pixelwise.serve.guard import Guard
from pixelwise.serve.middleware import OwnNames, StatedSize, Telemetry
from pixelwise.serve.photo_routes import photo_routes
from pixelwise.serve.problems import PROBLEM, Problem, answer_with_problems
from pixelwise.serve.run_routes import run_routes
from pixelwise.serve.runs import Runs
from pixelwise.serve.service import Service

_DESCRIPTION = """Every pixel of a photo labelled by a CNN.

    curl -F image=@photo.jpg http://127.0.0.1:8000/v1/segment
    curl -F image=@photo.jpg -H 'Accept: image/png' http://127.0.0.1:8000/v1/segment > mask.png
"""
_STATIC = Path(__file__).parent / "static"
_POLICY = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; media-src 'self' blob:; "
_POLICY += "frame-ancestors 'self'"
"""What the page may load: nothing from elsewhere, whatever is in it."""
_FRESH = {"Cache-Control": "no-cache"}
"""Browsers ask whether it is still so; else they may run an old script in a new page for days after an upgrade."""


def create_app(
    service: Service, *, token: str | None = None, runs: Runs | None = None, names: Collection[str] | None = None
) -> FastAPI:
    """The application.

    Args:
        service: answers; loads its models while the application is up.
        token: what requests have to bring as `Authorization: Bearer TOKEN`; None for nothing.
        runs: what the page shows of training runs and reports; None for nothing.
        names: of hosts that it answers to; None for any.

    Raises:
        PixelwiseError: no request could bring the token.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
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
    app.add_middleware(StatedSize, largest=service.limits.max_bytes, seconds=service.limits.upload)
    if names is not None:
        app.add_middleware(OwnNames, names=names)
    app.add_middleware(Telemetry, service=service, registry=registry)
    guard = Guard(token)
    app.include_router(photo_routes(service), dependencies=guard.dependencies)
    app.include_router(run_routes(runs, guard))

    @app.get("/health/live", tags=["health"])
    async def live() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "live"}

    @app.get("/health/ready", tags=["health"], responses={503: PROBLEM})
    async def ready() -> dict[str, str]:
        """Whether the models are loaded."""
        if not service.models.ready:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Models are still being loaded.", retry_after=1)
        return {"status": "ready"}

    @app.get("/metrics", include_in_schema=False, dependencies=guard.dependencies)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "page.html", headers={"Content-Security-Policy": _POLICY} | _FRESH)

    app.mount("/static", _Static(directory=_STATIC))
    return app


class _Static(StaticFiles):
    def file_response(self, *args: Any, **more: Any) -> Response:
        response = super().file_response(*args, **more)
        response.headers.update(_FRESH)
        return response
