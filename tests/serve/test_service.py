"""The service as its users see it: a real server in a process of its own, real photos, real connections."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from helpers import DEFAULT_BUNDLE, ENVIRONMENT, PHOTOS, ROOT, pixelwise
from pixelwise.bundle import read_bundle, write_bundle
from pixelwise.labels import ClassTable
from pixelwise.masks import read_index_mask
from server import serving, until_ready

CAT = PHOTOS / "chelsea.png"

FAILING = """
from pixelwise.serve.app import create_app
from pixelwise.serve.server import run
from pixelwise.serve.service import Service

app = create_app(Service({"default": "default"}))

@app.get("/fails/{thing}")
async def fails(thing):
    raise ValueError("nobody expects this")

run(app, host="127.0.0.1", port=0)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[subprocess.Popen[str], str]]:
    with serving() as (process, address):
        yield process, address
        assert process.poll() is None


@pytest.fixture
def server(running: tuple[subprocess.Popen[str], str]) -> str:
    return running[1]


def post(server: str, *, data: bytes | None = None, query: str = "", **more: Any) -> httpx.Response:
    """The cat as a form's file, unless there is something else."""
    if data is None and not more.keys() & {"content", "files", "json"}:
        data = CAT.read_bytes()
    if data is not None:
        more["files"] = {"image": data}
    return httpx.post(f"{server}/v1/segment{query}", timeout=120, **more)


def problem(response: httpx.Response, status: int) -> str:
    """The detail of an error, after a look at its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert set(told) == {"type", "title", "status", "detail"}
    assert told["status"] == status
    return str(told["detail"])


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header states a size, whatever its pixels are."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_the_mask_is_the_one_that_the_command_line_writes(server: str, tmp_path: Path):
    response = post(server, headers={"Accept": "image/png"})
    assert response.headers["content-type"] == "image/png"
    pixelwise("segment", CAT, "--engine", "openvino", "--save", "mask", "--out", "out", cwd=tmp_path)
    assert response.content == (tmp_path / "out" / "chelsea_mask.png").read_bytes()


def test_json_has_the_classes_and_the_mask_in_either_form(server: str):
    told = post(server).json()
    assert (told["model"], told["width"], told["height"]) == ("default", 451, 300)
    assert told["classes"][0]["name"] == "cat"
    mask = read_index_mask(base64.b64decode(told["mask"]["png"]))
    assert told["classes"][0]["share"] == pytest.approx((mask == 8).mean(), abs=1e-6)
    runs = post(server, query="?mask=rle").json()["mask"]["rle"]
    for name, run in runs.items():
        values = np.repeat(np.arange(len(run["counts"])) % 2, run["counts"]).reshape(run["size"][::-1]).T
        np.testing.assert_array_equal(values, mask == int(name))
    grey = post(server, query="?mask=ids&confidence=true").json()
    with Image.open(io.BytesIO(base64.b64decode(grey["mask"]["ids"]))) as image:
        np.testing.assert_array_equal(np.asarray(image), mask)
    with Image.open(io.BytesIO(base64.b64decode(grey["confidence"]))) as image:
        sure = np.asarray(image) / 255
    assert sure[mask == 8].mean() == pytest.approx(told["classes"][0]["confidence"], abs=0.003)
    assert "mask" not in post(server, query="?mask=none").json()


def test_a_photo_may_come_in_three_ways(server: str):
    data = CAT.read_bytes()
    expected = post(server).json()
    for way in (
        {"content": data, "headers": {"Content-Type": "image/png"}},
        {"content": data, "headers": {"Content-Type": "application/octet-stream"}},
        {"json": {"image": base64.b64encode(data).decode()}},
    ):
        assert post(server, **way).json() == expected


def test_options_are_those_of_the_command_line(server: str, tmp_path: Path):
    response = post(server, query="?size=256&flip=true", headers={"Accept": "image/png"})
    options = ("--size", "256", "--flip", "--engine", "openvino", "--save", "mask", "--out", "out")
    pixelwise("segment", CAT, *options, cwd=tmp_path)
    assert response.content == (tmp_path / "out" / "chelsea_mask.png").read_bytes()


def test_a_turned_photo_with_alpha_is_read_as_a_viewer_shows_it(server: str):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), (200, 10, 10)).save(buffer, "JPEG", exif=exif)
    told = post(server, data=buffer.getvalue(), query="?photo=true").json()
    assert (told["width"], told["height"]) == (20, 40)
    with Image.open(io.BytesIO(base64.b64decode(told["photo"]))) as image:
        assert image.size == (20, 40)
        assert image.getpixel((10, 20)) == pytest.approx((200, 10, 10), abs=3)


def test_what_is_refused_says_what_to_do(server: str):
    assert "is not a" in problem(post(server, data=b"no picture"), 422)
    assert "There is no model 'nice'; there are: default" in problem(post(server, query="?model=nice"), 404)
    assert problem(post(server, query="?size=2"), 422).startswith("size takes a number of pixels from 32 to")
    assert "mask: " in problem(post(server, query="?mask=gif"), 422)
    assert "no file called `image`" in problem(post(server, files={"photo": b"x"}), 422)
    assert "Send the photo as" in problem(post(server, content=b"x", headers={"Content-Type": "text/plain"}), 415)
    for body in (b"{", b"[]", b'{"image": 5}', b'{"image": "no base64!"}', b"[" * 100_000):
        response = post(server, content=body, headers={"Content-Type": "application/json"})
        assert "is not JSON of the form" in problem(response, 422)
    assert problem(httpx.get(f"{server}/nothing"), 404) == "Not Found"
    assert problem(httpx.get(f"{server}/v1/segment"), 405) == "Method Not Allowed"


def test_what_would_be_passed_over_is_refused(server: str):
    assert "modle: Extra inputs are not permitted" in problem(post(server, query="?modle=default"), 422)
    photo = CAT.read_bytes()
    for way in (
        {"files": {"image": photo, "model": (None, "default"), "size": (None, "256")}},
        {"json": {"image": base64.b64encode(photo).decode(), "model": "default"}},
    ):
        detail = problem(post(server, **way), 422)
        assert "has 'model'" in detail
        assert "belongs in the address: /v1/segment?model=NAME" in detail


def test_what_nobody_expected_is_a_problem_too_is_counted_and_its_traceback_is_in_the_log():
    process = subprocess.Popen([sys.executable, "-c", FAILING], stdout=PIPE, stderr=PIPE, text=True, env=ENVIRONMENT)
    try:
        address = process.stdout.readline().strip()
        until_ready(address)
        assert "its log says what" in problem(httpx.get(f"{address}/fails/now"), 500)
        figures = httpx.get(f"{address}/metrics").text
        assert 'pixelwise_answers_total{path="/fails/{thing}",status="500"} 1.0' in figures
        assert 'pixelwise_seconds_count{path="/fails/{thing}"} 1.0' in figures
    finally:
        process.terminate()
        _, log = process.communicate(timeout=30)
    assert "ValueError: nobody expects this" in log


def test_what_is_too_large_is_refused_while_it_arrives(server: str):
    megabyte = b"x" * (1 << 20)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(500):
            sent += 1
            yield megabyte

    try:
        response = post(server, content=endless(), headers={"Content-Type": "image/png"})
        assert response.status_code == 413
    except httpx.TransportError:
        pass  # the connection was closed on what was still to come
    assert sent < 100
    for _ in range(20):  # the answer is heard each time
        response = post(server, content=b"x" * (33 << 20), headers={"Content-Type": "image/png"})
        assert "send the photo smaller" in problem(response, 413)
    assert post(server).status_code == 200


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(server: str):
    start = time.perf_counter()
    assert "60,000 × 60,000 pixels" in problem(post(server, data=png(60_000, 60_000)), 422)
    assert time.perf_counter() - start < 5


def test_a_size_that_would_take_an_hour_is_refused_however_small_the_photo(server: str):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    said = problem(post(server, data=buffer.getvalue(), query="?size=65535"), 422)
    assert said == (
        "At size 65535 the network would see 65,536 × 65,536 pixels, which is above the limit of 50,000,000; "
        "give a smaller size."
    )
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1000)).save(buffer, "PNG")
    assert post(server, data=buffer.getvalue(), query="?size=2000").status_code == 200


def decoders(process: subprocess.Popen[str]) -> list[int]:
    """A server's, by their process ids."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(each) for each in children]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the decoders in /proc")
def test_a_decoder_that_dies_costs_at_most_one_request(running: tuple[subprocess.Popen[str], str]):
    process, server = running

    post(server)
    assert decoders(process)
    for decoder in decoders(process):
        os.kill(decoder, signal.SIGKILL)
    statuses = [post(server).status_code for _ in range(4)]
    assert statuses.count(200) >= 3
    assert set(statuses) <= {200, 422}


def test_a_page_from_elsewhere_whose_name_points_here_is_refused(server: str):
    port = server.rpartition(":")[2]
    for name in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "",
        "[::1",
        "localhost@evil.example",
    ):
        response = httpx.get(f"{server}/v1/models", headers={"Host": name})
        assert "localhost alone" in problem(response, 421) if name != "[::1" else response.status_code in (400, 421)
    for name in ("localhost", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST"):
        assert httpx.get(f"{server}/v1/models", headers={"Host": name}).status_code == 200


def test_health_models_and_figures(server: str):
    assert httpx.get(f"{server}/health/live").json() == {"status": "live"}
    assert httpx.get(f"{server}/health/ready").json() == {"status": "ready"}
    told = httpx.get(f"{server}/v1/models").json()
    assert told["default"] == "default"
    assert told["models"][0]["classes"][8]["name"] == "cat"
    post(server)
    figures = httpx.get(f"{server}/metrics").text
    assert re.search(r'pixelwise_answers_total\{path="/v1/segment",status="200"\} \d', figures)
    assert "pixelwise_inside 0.0" in figures


def test_the_description_has_every_route_and_loads_nothing_from_elsewhere(server: str):
    told = httpx.get(f"{server}/openapi.json").json()
    assert set(told["paths"]) == {
        "/v1/segment",
        "/v1/models",
        "/v1/runs",
        "/v1/run",
        "/health/live",
        "/health/ready",
    }
    kinds = told["paths"]["/v1/segment"]["post"]["requestBody"]["content"]
    assert set(kinds) == {"multipart/form-data", "image/*", "application/octet-stream", "application/json"}
    for page in ("/docs", "/redoc", "/static/../app.py", "/static/%2e%2e/app.py"):
        assert httpx.get(f"{server}{page}").status_code == 404


def test_a_browser_asks_whether_the_page_is_still_the_same(server: str):
    """Or it would run an old script in a new page, for days after an upgrade."""
    for path in ("/", "/static/page.js", "/static/runs.js"):
        assert httpx.get(f"{server}{path}").headers["cache-control"] == "no-cache", path
    tag = httpx.get(f"{server}/static/page.js").headers["etag"]
    again = httpx.get(f"{server}/static/page.js", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"


def test_many_at_once_are_answered_alike(server: str):
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: post(server, headers={"Accept": "image/png"}), range(18)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.slow
def test_more_than_can_wait_is_told_when_to_come_again():
    with serving("--queue", "1") as (_, address):
        with ThreadPoolExecutor(24) as threads:
            answers = list(threads.map(lambda _: post(address, query="?size=1024&flip=true"), range(24)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        for answer in answers:
            if answer.status_code == 429:
                assert "try again later" in problem(answer, 429)
                assert int(answer.headers["retry-after"]) >= 1
        assert post(address).status_code == 200


@pytest.mark.slow
def test_what_waited_too_long_is_not_computed():
    # Time enough for the first to begin even on a busy machine, and more work than any machine does in it.
    with serving("--deadline", "2", "--queue", "100") as (_, address):
        with ThreadPoolExecutor(60) as threads:
            answers = list(threads.map(lambda _: post(address, query="?size=1536&flip=true"), range(60)))
        assert {answer.status_code for answer in answers} == {200, 503}
        late = next(answer for answer in answers if answer.status_code == 503)
        assert "waited longer than 2 s" in problem(late, 503)
        # A decoder that was cut short is started anew, which may take a second itself.
        assert 200 in (post(address).status_code for _ in range(5))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the decoders in /proc")
def test_a_deadline_takes_no_decoder_from_the_next_request():
    """Starting another may take as long as the next may wait."""
    with serving("--deadline", "2", "--queue", "200") as (process, address), ThreadPoolExecutor(150) as threads:
        list(threads.map(lambda _: post(address), range(8)))
        before = decoders(process)
        answers = list(threads.map(lambda _: post(address, query="?size=1536&flip=true"), range(150)))
        assert 503 in {answer.status_code for answer in answers}
        assert set(before) <= set(decoders(process))


@pytest.mark.slow
def test_a_token_is_asked_for_where_one_was_set():
    with serving(environment={"PIXELWISE_TOKEN": "secret"}) as (_, address):
        assert "Give the token" in problem(post(address), 401)
        problem(post(address, headers={"Authorization": "Bearer wrong"}), 401)
        problem(httpx.get(f"{address}/metrics"), 401)
        assert post(address).headers["WWW-Authenticate"] == "Bearer"
        for scheme in ("Bearer", "bearer"):
            assert post(address, headers={"Authorization": f"{scheme} secret"}).status_code == 200
        assert httpx.get(f"{address}/health/live").status_code == 200


def test_who_leaves_in_the_middle_of_a_photo_is_not_in_the_log():
    form = "multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n--x\r\nContent-Disposition: form-data; "
    bodies = (
        "image/png\r\nContent-Length: 100000\r\n\r\nPNG",
        "image/png\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nPNG\r\n",
        f'{form}name="image"; filename="a.png"\r\n\r\nPNG',
    )
    with serving() as (process, address):
        host, _, port = address.removeprefix("http://").partition(":")
        for body in bodies:
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(f"POST /v1/segment HTTP/1.1\r\nHost: {host}\r\nContent-Type: {body}".encode())
        until = time.monotonic() + 30
        told = 'pixelwise_answers_total{path="/v1/segment",status="400"} 3.0'
        while told not in httpx.get(f"{address}/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.05)
        process.terminate()
        assert process.communicate(timeout=30)[1] == ""


@pytest.mark.parametrize("token", ["clé", "secret\n", " secret", os.fsdecode(b"\xff")])
def test_a_token_that_no_header_brings_is_refused_at_the_start(tmp_path: Path, token: str):
    _, err = pixelwise("serve", "--port", "0", cwd=tmp_path, status=2, environment={"PIXELWISE_TOKEN": token})
    assert err.startswith("pixelwise: No request could bring this token; choose one of ASCII letters")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_what_was_accepted_is_answered_before_the_end():
    with serving() as (process, address), ThreadPoolExecutor(8) as threads:
        started = [threads.submit(post, address, query="?size=1024&flip=true") for _ in range(8)]
        until = time.monotonic() + 30
        while "pixelwise_inside 8.0" not in httpx.get(f"{address}/metrics").text and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert [each.result().status_code for each in started] == [200] * 8
        process.wait(timeout=30)
        with pytest.raises(httpx.TransportError):
            post(address)


@pytest.mark.slow
def test_it_does_what_its_own_description_says(server: str, tmp_path: Path):
    """All that schemathesis can think of; but a description cannot say which bytes are a photo, so those may fail."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server}/openapi.json", "--max-examples", "20"]
    options = ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--no-color", "--seed", "1"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Tested: 6" in done.stdout


def test_the_example_of_the_description_can_be_tried(server: str):
    kinds = httpx.get(f"{server}/openapi.json").json()["paths"]["/v1/segment"]["post"]["requestBody"]["content"]
    told = post(server, json=kinds["application/json"]["example"]).json()
    assert (told["width"], told["height"]) == (4, 4)


def damaged_uploads(count: int) -> Iterator[tuple[bytes, str]]:
    """What a fuzzer would send, body and type: photos of each format with bytes changed, cut off, or put in; as forms,
    as bodies, and forms whose own framing is damaged."""
    generator = np.random.default_rng(0)
    originals = []
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        buffer = io.BytesIO()
        with Image.open(CAT) as image:
            image.convert("RGB").resize((96, 64)).save(buffer, kind)
        originals.append(buffer.getvalue())

    def damaged(whole: bytes) -> bytes:
        data = bytearray(whole)
        for place in generator.integers(0, len(data), generator.integers(1, 20)):
            data[place] = generator.integers(256)
        if generator.random() < 0.3:
            del data[generator.integers(1, len(data)) :]
        if generator.random() < 0.2:
            place = generator.integers(len(data))
            data[place:place] = generator.bytes(generator.integers(1, 100))
        return bytes(data)

    def form(data: bytes) -> bytes:
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="photo"\r\n\r\n'
        return head + data + b"\r\n--x--\r\n"

    for number in range(count):
        photo = originals[number % len(originals)]
        how = number // len(originals) % 3
        if how == 0:
            yield form(damaged(photo)), "multipart/form-data; boundary=x"
        elif how == 1:
            yield damaged(photo), "application/octet-stream"
        else:
            framed = form(photo)
            yield damaged(framed[:120]) + framed[120:], "multipart/form-data; boundary=x"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read in /proc")
def test_damaged_photos_never_break_it_nor_stay_in_memory():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from serve import pss
    finally:
        sys.path.pop(0)
    uploads = list(damaged_uploads(2000))
    with serving() as (process, address), httpx.Client(timeout=60) as client, ThreadPoolExecutor(4) as threads:

        def status(upload: tuple[bytes, str]) -> int:
            body, kind = upload
            answer = client.post(f"{address}/v1/segment?mask=none", content=body, headers={"Content-Type": kind})
            json.loads(answer.content)
            return answer.status_code

        statuses = list(threads.map(status, uploads[:300]))  # until every pool and cache is filled
        before = pss(process.pid)
        statuses += list(threads.map(status, uploads[300:]))
        assert pss(process.pid) - before < 64e6
        assert set(statuses) <= {200, 400, 422}
        assert statuses.count(422) > 500
        assert statuses.count(200) > 100
        assert post(address).status_code == 200
        assert process.poll() is None


def test_a_model_that_cannot_be_run_ends_it_with_one_sentence(tmp_path: Path):
    """It is there and whole, so that only trying it tells."""
    own = read_bundle(DEFAULT_BUNDLE)
    classes = ClassTable(own.config.classes.names[:20], own.config.classes.colours[:20], ignore_index=255)
    config = replace(own.config, classes=classes)
    write_bundle(tmp_path / "twenty", config, graph=own.graph.read_bytes(), weights=own.weights.read_bytes())
    out, err = pixelwise("serve", "--port", "0", "--model", "default", "--model", "twenty", cwd=tmp_path, status=2)
    assert out.startswith("http://")
    assert err == (
        "pixelwise: twenty cannot be loaded: The network tells 21 classes apart, its class table names 20.\n"
    )


def test_the_address_is_told_when_it_can_be_asked():
    command = [sys.executable, "-m", "pixelwise", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
            socket.create_connection((host, int(port))).close()
        finally:
            process.kill()


def test_a_port_that_is_taken_and_a_model_that_is_not_there_are_one_sentence(server: str, tmp_path: Path):
    port = server.rpartition(":")[2]
    _, err = pixelwise("serve", "--port", port, cwd=tmp_path, status=2)
    assert err.startswith(f"pixelwise: 127.0.0.1:{port} cannot be listened on (")
    _, err = pixelwise("serve", "--host", "192.0.2.1", cwd=tmp_path, status=2)  # for documents, nobody's
    assert "give another --host or --port." in err
    _, err = pixelwise("serve", "--model", "absent", cwd=tmp_path, status=2)
    assert "absent" in err
    _, err = pixelwise("serve", "--model", "default", "--model", "default", cwd=tmp_path, status=2)
    assert "Two models would be called 'default'" in err
