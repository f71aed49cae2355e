"""What requests wait for, and what they take while they do."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE

import anyio
import httpx
import pytest

from helpers import ENVIRONMENT, PHOTOS
from pixelwise.images import Photo
from pixelwise.serve.service import Service
from server import until_ready

CAT = PHOTOS / "chelsea.png"

HURRIED = """
from pixelwise.serve.app import create_app
from pixelwise.serve.server import run
from pixelwise.serve.service import Limits, Service

run(create_app(Service({"default": "default"}, limits=Limits(decode=2))), host="127.0.0.1", port=0)
"""
SLEEPY = """
import sys
import time

if "anyio.to_process" in sys.orig_argv:
    time.sleep({seconds})
"""
STILLBORN = """
import sys

if "anyio.to_process" in sys.orig_argv:
    sys.exit(1)
"""
ENDLESS = """
import sys

if "anyio.to_process" in sys.orig_argv:
    import time

    import pixelwise.images

    pixelwise.images.read_image = lambda *_, **__: time.sleep(60)
"""


def answers(tmp_path: Path, site: str) -> list[httpx.Response]:
    """Four at once, of a server that gives decoders 2 s and whose processes all begin with a script."""
    (tmp_path / "sitecustomize.py").write_text(site)
    photo = CAT.read_bytes()
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join((str(tmp_path), ENVIRONMENT["PYTHONPATH"]))}
    process = subprocess.Popen([sys.executable, "-c", HURRIED], stdout=PIPE, stderr=PIPE, text=True, env=environment)
    try:
        address = process.stdout.readline().strip()
        until_ready(address)
        with httpx.Client(timeout=120) as client, ThreadPoolExecutor(4) as threads:
            asked = [threads.submit(client.post, f"{address}/v1/segment", files={"image": photo}) for _ in range(4)]
            return [each.result() for each in asked]
    finally:
        process.kill()
        process.communicate()


def test_the_time_of_a_decoder_begins_when_it_has_the_photo(tmp_path: Path):
    """Here it takes longer to start than a photo may take, as on a machine that has much to do."""
    assert [answer.status_code for answer in answers(tmp_path, SLEEPY.format(seconds=4))] == [200] * 4


@pytest.mark.slow
def test_where_no_decoder_comes_up_the_photo_is_not_to_blame(tmp_path: Path):
    for answer in answers(tmp_path, SLEEPY.format(seconds=25)):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1


def test_where_decoders_end_before_they_are_up_the_photo_is_not_to_blame(tmp_path: Path):
    """As when the system ends them for want of memory; the server goes on."""
    assert [answer.status_code for answer in answers(tmp_path, STILLBORN)] == [503] * 4


def test_a_photo_that_takes_too_long_to_decode_is_refused(tmp_path: Path):
    for answer in answers(tmp_path, ENDLESS):
        assert answer.status_code == 422
        assert "takes too long" in answer.json()["detail"]


def test_most_requests_wait_with_their_photo_not_decoded():
    """Decoded it is many times as large."""
    go_on = threading.Event()
    answered: list[bool] = []
    photo = CAT.read_bytes()

    def photos() -> int:
        gc.collect()
        # By type: isinstance would ask each object what it is, and some warn.
        return sum(type(each) is Photo for each in gc.get_objects())

    before = photos()  # of other tests

    def decoded() -> int:
        return photos() - before

    async def work() -> int:
        service = Service({"default": "default"})
        async with service.running(), anyio.create_task_group() as group:
            while not service.models.ready:
                await anyio.sleep(0.05)

            async def ask() -> None:
                answered.append(
                    await service.segment(photo, lambda _: go_on.wait(60), model=None, size=None, flip=False)
                )

            for _ in range(service.streams + 8):
                group.start_soon(ask)
            with anyio.fail_after(60):
                while decoded() <= service.streams:
                    await anyio.sleep(0.05)
            await anyio.sleep(1)  # in which all could be decoded
            found = decoded()
            go_on.set()
        assert answered == [True] * (service.streams + 8)
        return found - service.streams

    assert anyio.run(work) == 1
