"""A real browser for the tests of the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as started:
        camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]  # a moving test picture
        launched = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", *camera])
        yield launched
        launched.close()
