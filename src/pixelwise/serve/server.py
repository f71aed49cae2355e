"""Running the application: uvicorn, which says where it listens and ends what it began."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from pixelwise.errors import PixelwiseError


def run(app: FastAPI, *, host: str, port: int, failure: Callable[[], Exception | None] = lambda: None) -> None:
    """Serve until a signal comes; then accept nothing new, answer what was accepted, and end.

    Args:
        app: what answers.
        host: the address to listen on.
        port: 0 for any that is free.
        failure: asked again and again; once it gives an error, that is the end, too, and it is raised.

    Raises:
        PixelwiseError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # before the address is told, which who reads it may ask at once
    except OSError as error:
        raise PixelwiseError(
            f"{host}:{port} cannot be listened on ({error.strerror}); give another --host or --port."
        ) from error
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    print(f"http://{shown}:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="on")
    _Server(config, failure).run(sockets=[listener])
    if failed := failure():
        raise failed


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, failure: Callable[[], Exception | None]) -> None:
        super().__init__(config)
        self._failure = failure

    async def on_tick(self, counter: int) -> bool:  # ten times a second
        return await super().on_tick(counter) or self._failure() is not None
