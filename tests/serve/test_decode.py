"""The decoders' limits, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers import ENVIRONMENT, PHOTOS

RESERVED = """
import mmap
import sys
from pathlib import Path

reserved = mmap.mmap(-1, 3 << 30)
from pixelwise.serve.decode import decode

for _ in range(2):
    size, pixels, notes = decode(Path(sys.argv[1]).read_bytes(), 50_000_000, 60)
    print(*size)
try:
    bytearray(5 << 29)
except MemoryError:
    print("refused")
"""
INTERRUPTED = """
import os
import signal
import sys
from pathlib import Path

from pixelwise.serve.decode import decode

for sent in (signal.SIGINT, signal.SIGTERM, None):
    size, pixels, notes = decode(Path(sys.argv[1]).read_bytes(), 50_000_000, 60)
    print(*size)
    if sent:
        os.kill(os.getpid(), sent)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there is the address space limited")
def test_what_was_reserved_before_a_photo_came_leaves_it_as_much_memory():
    """OpenBLAS reserves some 40 MB for each core: on 64 of them it left a photo nothing of a fixed limit."""
    command = [sys.executable, "-c", RESERVED, PHOTOS / "chelsea.png"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout.splitlines() == ["300 451", "300 451", "refused"], done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there, no signal can be sent to a process")
def test_what_ends_the_server_leaves_it_its_decoders():
    """A terminal and systemd send it to all processes; photos that were accepted are still to be decoded."""
    command = [sys.executable, "-c", INTERRUPTED, PHOTOS / "chelsea.png"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout.splitlines() == ["300 451"] * 3, done.stderr
