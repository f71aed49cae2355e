"""The service under load: throughput, three times as many requests as it can answer, and senders that take their time.

A real server in a process of its own and clients in this one, on one machine, so the clients take of its time, too. The
photo is a 640 x 480 JPEG, the answer the mask's PNG. Throughput: one client that waits for each answer, against many;
and many on the plainest handler of FastAPI and torchvision with a network of the same size, `_plain_handler.py`. At
last the server is ended again and again while clients ask it. And the network alone: whether requests would better be
batched, or computed at once on streams of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from _common import ROOT, Report, make_photo, parser, table, verdict, versions
from pixelwise.catalogue import find_model
from pixelwise.engine import load_engine
from pixelwise.machine import cores

QUEUE = 32
CLIENTS = 8
SLOW = 500
BATCHED, PLAIN = 1.3, 2.0
REFUSED, LIVE, RECOVERED = 0.05, 0.05, 5.0
GROWTH = 300e6
SURELY_IN = 0.3  # seconds before the signal; what was sent later may not have been accepted


def main() -> None:
    options = _options()
    report = Report(
        options, versions("pixelwise", "openvino", "fastapi", "uvicorn", "starlette", "torch", "torchvision")
    )
    with tempfile.TemporaryDirectory() as directory:
        photo = make_photo(Path(directory) / "photo.jpg")
        request = _request(photo.read_bytes())
        photo_request = _request(photo.read_bytes(), query="?size=1024&flip=true")
    own = [sys.executable, "-m", "pixelwise", "serve", "--port", "8765", "--queue", str(QUEUE)]
    plain = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "benchmarks"), "_plain_handler:app"]
    plain += ["--port", "8766", "--log-level", "warning"]
    rates: dict[str, list[float]] = {"one client": [], "many clients": [], "plain handler": []}
    with _serving(own, 8765) as server, _serving(plain, 8766):
        idle = pss(server.pid)
        for _ in range(options.repetitions):
            rates["one client"].append(_rate(8765, request, clients=1, count=options.photos))
            rates["many clients"].append(_rate(8765, request, clients=CLIENTS, count=options.photos))
            rates["plain handler"].append(_rate(8766, request, clients=CLIENTS, count=max(20, options.photos // 3)))
    one, many, other = (median(each) for each in rates.values())
    with _serving(own, 8765) as server:
        flood = asyncio.run(_flood(8765, request, rate=3 * many, seconds=options.seconds, pid=server.pid))
        live = asyncio.run(_slow_senders(8765))
    ends = [_ended_under_load(own, photo_request, random.Random(number)) for number in range(options.ends)]
    answered, lost = (sum(each[i] for each in ends) for i in (0, 1))
    shared = _ways_to_share(options.repetitions)
    report.figures = {
        "network alone": shared,
        "photos a second": rates,
        "flood": flood,
        "live": live,
        "idle memory": idle,
        "ends": ends,
    }
    accepted, refused = sorted(flood["accepted"]), sorted(flood["refused"])
    limit = (QUEUE + 1) / one  # a service time is what a client waits when nobody else asks
    tail, last = _percentile(accepted, 0.99), _percentile(refused, 0.99)
    growth, (recovered,) = max(flood["memory"]) - idle, flood["recovered"]
    report.show(
        table(["network alone, photos a second", "median"], _medians(shared)),
        table(["photos a second", "median"], _medians(rates)),
        verdict(f"many clients, {BATCHED} times one", many >= BATCHED * one, f"{many / one:.2f}"),
        verdict(f"{PLAIN} times the plain handler", many >= PLAIN * other, f"{many / other:.2f}"),
        f"{3 * many:.0f} requests a second for {options.seconds} s: {len(accepted)} answered, {len(refused)} refused.",
        verdict("answers within (queue + 1) service times, p99", tail <= limit, f"{tail:.2f} of {limit:.2f} s"),
        f"At full throughput, {tail * many:.1f} photos are answered in that time.",
        verdict("refusals within 50 ms, p99", last <= REFUSED, f"{1000 * last:.0f} ms"),
        verdict("at most 300 MB above idle", growth <= GROWTH, f"{growth / 1e6:.0f} MB"),
        verdict("recovers within 5 s", recovered <= RECOVERED, f"{recovered:.2f} s"),
        verdict(f"{options.ends} times SIGTERM, nothing accepted lost", lost == 0, f"{lost} of {answered + lost}"),
        verdict(f"live within 50 ms beside {SLOW} slow senders", max(live) <= LIVE, f"{1000 * max(live):.0f} ms"),
    )
    report.finish()


def _medians(rates: dict[str, list[float]]) -> list[list[str]]:
    return [[name, f"{median(each):.1f}"] for name, each in rates.items()]


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--photos", type=int, default=120, help="a measurement of throughput (default 120)")
    made.add_argument("--repetitions", type=int, default=3)
    made.add_argument("--seconds", type=int, default=120, help="of too many requests (default 120)")
    made.add_argument("--ends", type=int, default=20, help="how often the server is ended under load (default 20)")
    return made.parse_args()


def _request(photo: bytes, *, query: str = "") -> bytes:
    """The whole request, as a form, in bytes."""
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n\r\n'
    body = head + photo + b"\r\n--x--\r\n"
    lines = [
        f"POST /v1/segment{query} HTTP/1.1",
        "Host: localhost",
        "Accept: image/png",
        "Content-Type: multipart/form-data; boundary=x",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _ways_to_share(repetitions: int) -> dict[str, list[float]]:
    """Photos a second of the default model's network, one after the other, in batches, and on two streams at once."""
    graph = find_model("default").graph
    photos = np.random.default_rng(0).standard_normal((8, 3, 384, 512)).astype(np.float32)
    alone, streams = load_engine(graph, name="openvino"), load_engine(graph, name="openvino", streams=cores())

    def in_batches(size: int) -> None:
        for at in range(0, len(photos), size):
            alone(photos[at : at + size])

    def at_once() -> None:
        list(threads.map(lambda photo: streams(photo[None]) is None, photos))

    rates: dict[str, list[float]] = {}
    with ThreadPoolExecutor(cores()) as threads:
        ways: dict[str, Callable[[], None]] = {"one at a time": partial(in_batches, 1)}
        ways |= {f"batches of {size}": partial(in_batches, size) for size in (2, 4, 8)}
        ways[f"{cores()} streams"] = at_once
        for each in ways.values():
            each()
        for _ in range(2 * repetitions):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                rates.setdefault(name, []).append(len(photos) / (time.perf_counter() - start))
    return rates


@contextmanager
def _serving(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is ready."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        asyncio.run(_until_ready(port))
        yield process
    finally:
        process.kill()
        process.wait()


async def _until_ready(port: int) -> None:
    for _ in range(600):
        if (await _get(port, "/health/ready"))[0] == 200:
            return
        await asyncio.sleep(0.1)
    sys.exit(f"No server became ready on port {port}.")


async def _get(port: int, path: str) -> tuple[int, float]:
    return await _send(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())


async def _send(port: int, request: bytes) -> tuple[int, float]:
    """Status, 0 where there was no answer, and seconds until all of it was there."""
    start = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        status = int(answer.split(b" ", 2)[1]) if answer else 0
    except OSError:
        status = 0
    return status, time.perf_counter() - start


def _rate(port: int, request: bytes, *, clients: int, count: int) -> float:
    """Photos a second that so many clients get, each sending its next when it has its answer."""

    async def all_of_them() -> None:
        left = iter(range(count))

        async def client() -> None:
            for _ in left:
                status, _ = await _send(port, request)
                assert status == 200, status

        await asyncio.gather(*(client() for _ in range(clients)))

    start = time.perf_counter()
    asyncio.run(all_of_them())
    return count / (time.perf_counter() - start)


async def _flood(port: int, request: bytes, *, rate: float, seconds: float, pid: int) -> dict[str, list[float]]:
    """Requests at a fixed rate, whatever becomes of them: seconds of the accepted and of the refused, and memory."""
    accepted: list[float] = []
    refused: list[float] = []
    memory: list[float] = []

    async def one() -> None:
        status, took = await _send(port, request)
        if status == 200:
            accepted.append(took)
        elif status == 429:
            refused.append(took)
        else:
            sys.exit(f"The server answered with status {status}.")

    tasks = []
    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0, start + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
        if number % 50 == 0:
            memory.append(pss(pid))
    ended = time.perf_counter()
    await asyncio.gather(*tasks)
    while (await _send(port, request))[0] != 200:
        await asyncio.sleep(0.05)
    recovered = time.perf_counter() - ended
    return {"accepted": accepted, "refused": refused, "memory": memory, "recovered": [recovered]}


async def _slow_senders(port: int) -> list[float]:
    """Seconds of `/health/live`, asked for beside clients that send a byte a second."""
    writers = []
    head = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n"
    for _ in range(SLOW):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        writers.append(writer)
    took = []
    for _ in range(10):
        for writer in writers:
            writer.write(b"x")
        await asyncio.sleep(0.5)
        took.append((await _get(port, "/health/live"))[1])
    for writer in writers:
        writer.close()
    return took


def _ended_under_load(command: list[str], request: bytes, generator: random.Random) -> tuple[int, int]:
    """How many requests that were surely accepted got their answer, and how many did not."""
    with _serving(command, 8765) as server:

        async def clients() -> list[tuple[float, int]]:
            sent: list[tuple[float, int]] = []

            async def client() -> None:
                while server.poll() is None:
                    start = time.perf_counter()
                    status, _ = await _send(8765, request)
                    sent.append((start, status))
                    if status == 0:
                        return

            asking = [asyncio.create_task(client()) for _ in range(CLIENTS)]
            await asyncio.sleep(generator.uniform(1, 2))
            server.send_signal(signal.SIGTERM)
            signalled.append(time.perf_counter())
            await asyncio.gather(*asking)
            return sent

        signalled: list[float] = []
        sent = asyncio.run(clients())
        server.wait(timeout=30)
    accepted = [status for start, status in sent if start < signalled[0] - SURELY_IN]
    return accepted.count(200), len(accepted) - accepted.count(200)


def pss(pid: int) -> float:
    """Bytes that a process and its children hold, as the kernel shares them out."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0.0
    for process in (str(pid), *children):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def _percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


if __name__ == "__main__":
    main()
