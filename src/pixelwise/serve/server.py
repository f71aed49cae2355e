"""Running the application: uvicorn, which says where it listens and ends what it began."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from pixelwise.errors import PixelwiseError


def run(app: FastAPI, *, host: str, port: int) -> None:
    """Serve until a signal comes; then accept nothing new, answer what was accepted, and end.

    Raises:
        PixelwiseError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise PixelwiseError(f"{host}:{port} cannot be listened on ({error.strerror}); give another --port.") from error
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    print(f"http://{shown}:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])
