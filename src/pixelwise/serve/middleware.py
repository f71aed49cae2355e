"""What every request passes through: a look at whom it is for and at its stated size, and a count of its answer."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urlsplit

import anyio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixelwise.serve.problems import misdirected, too_large
from pixelwise.serve.service import Service


class OwnNames:
    """Refuses what was sent to another name, lest a page from elsewhere make its own name point here and read along.

    That is called DNS rebinding; a browser takes such a page and this server for one.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        refused = scope["type"] == "http" and _host(Headers(scope=scope)) not in self._names
        await (misdirected() if refused else self._app)(scope, receive, send)


def _host(headers: Headers) -> str:
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


class StatedSize:
    """Refuses a body by the size that its headers state; what arrives in fact is counted by Starlette.

    One of up to twice that size is read to its end first, but for `seconds` at most: a connection that is closed on a
    client that still sends takes the answer with it, which is often lost.
    """

    def __init__(self, app: ASGIApp, largest: int, seconds: float) -> None:
        self._app, self._largest, self._seconds = app, largest, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        header = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        stated = int(header) if header.isdecimal() else 0
        if self._largest < stated <= 2 * self._largest:
            with anyio.move_on_after(self._seconds), suppress(ClientDisconnect):
                async for _ in Request(scope, receive).stream():
                    pass
        await (too_large() if stated > self._largest else self._app)(scope, receive, send)


class Telemetry:
    """Counts answers for Prometheus, around all else; nobody else is told."""

    def __init__(self, app: ASGIApp, service: Service, registry: CollectorRegistry) -> None:
        self._app = app
        self._answers = Counter("pixelwise_answers", "By route and status", ["path", "status"], registry=registry)
        self._seconds = Histogram("pixelwise_seconds", "From headers to answer, by route", ["path"], registry=registry)
        inside = Gauge("pixelwise_inside", "Requests that are decoded, wait or are computed", registry=registry)
        inside.set_function(lambda: service.inside)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, begun = time.perf_counter(), False

        def count(status: int) -> None:
            path = getattr(scope.get("route"), "path", "other")
            self._answers.labels(path, str(status)).inc()
            self._seconds.labels(path).observe(time.perf_counter() - start)

        async def told(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, told)
        except Exception:  # which Starlette answers outside of this
            if not begun:
                count(HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
