"""A real server for the tests that need one."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from helpers import ENVIRONMENT


@contextmanager
def serving(
    *options: str, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that is ready, and its address; in the directory `cwd`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pixelwise", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**ENVIRONMENT, **(environment or {})},
    )
    try:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://(127\.0\.0\.1|0\.0\.0\.0):\d+", address), process.stderr.read()
        until_ready(address)
        yield process, address
    finally:
        process.kill()
        process.communicate()


def until_ready(address: str) -> None:
    """Wait for a server's models, two minutes at most."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if httpx.get(f"{address}/health/ready").status_code == 200:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.05)
