"""Training in two real processes on the processor, started as users start it."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import ENVIRONMENT, pixelwise

pytest.importorskip("torch")

import torch

from pixelwise.bundle import read_bundle
from pixelwise.errors import PixelwiseError
from pixelwise.processes import launch, local_processes, make_fabric, rank
from pixelwise.run_directory import read_log
from small_runs import fresh_state, small_dataset


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("processes")
    small_dataset(root)
    return root


def words(workplace: Path, run: str, *more: str) -> list[str]:
    return ["train", "recipe.yaml", "--data-root", str(workplace), "--run", run, *more]


def check_finished(run: Path) -> None:
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(entry["loss"]) for entry in log)
    assert len(list((run / "tensorboard").iterdir())) >= 1
    assert read_bundle(run / "model").config.metrics["voc/val"]["photos"] == 2


def test_where_nothing_started_it_a_process_is_alone(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "SLURM_PROCID", "LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    assert rank() == 0
    assert local_processes(3) == 3


def test_several_machines_need_a_place_to_meet():
    with pytest.raises(PixelwiseError, match="--rendezvous HOST:PORT"):
        launch(["train"], devices=1, nodes=2)


def test_more_processes_than_graphics_cards_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(PixelwiseError, match="3 training processes need as many graphics cards"):
        launch(["--version"], devices=3)
    with pytest.raises(PixelwiseError, match="this machine has 2"):
        make_fabric("32-true", devices=3, nodes=1)


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has a graphics card")
def test_float16_is_refused_on_a_processor(workplace: Path):
    _, errors = pixelwise(*words(workplace, "half", "--set", "precision=16-mixed"), cwd=workplace, status=2)
    assert "precision 16-mixed works on graphics cards only; set it to bf16-mixed or 32-true." in errors
    assert "Fabric" not in errors
    assert not (workplace / "half").exists()


@pytest.mark.slow
def test_two_processes_train_one_model(workplace: Path):
    pixelwise(*words(workplace, "two", "--devices", "2"), cwd=workplace)
    check_finished(workplace / "two")
    assert len(list((workplace / "two" / "tensorboard").iterdir())) == 1
    _, errors = pixelwise(*words(workplace, "two", "--devices", "2"), cwd=workplace, status=2)
    assert "holds a run already" in errors
    _, errors = pixelwise(*words(workplace, "few", "--devices", "2", "--set", "batch_size=1"), cwd=workplace, status=2)
    assert "each of them needs a photo a step" in errors
    assert "--resume" not in errors  # nothing has begun, and would end alike
    assert not (workplace / "few").exists()


@pytest.mark.slow
def test_each_photo_counts_alike_where_one_process_has_more_of_them(workplace: Path):
    plain = {
        "model.arguments": "{width: 4, dropout: 0}",
        "loss": "{dice: 0, pixel_stride: 1}",
        "batch_size": "3",
        "steps": "1",
    }
    overrides = [f"{key}={value}" for key, value in plain.items()]
    sets = [word for override in overrides for word in ("--set", override)]
    pixelwise(*words(workplace, "uneven", "--devices", "2", *sets), cwd=workplace)
    (entry,) = read_log(workplace / "uneven" / "log.jsonl")
    state = fresh_state(workplace, *overrides)
    images, masks = next(iter(state.loader()))
    masks = masks.long()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (state.recipe.input.mean, state.recipe.input.std))
    seen = (images / 255 - mean) / std
    first, second = (float(state.loss(state.module(seen[own]), masks[own]).detach()) for own in ([0, 2], [1]))
    assert first != pytest.approx(second, rel=0.01)
    assert entry["loss"] == pytest.approx((2 * first + second) / 3, rel=1e-4)


@pytest.mark.slow
def test_torchrun_trains_as_well(workplace: Path):
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "--",
        "pixelwise",
    ]
    done = subprocess.run(
        [*start, *words(workplace, "torchrun")],
        cwd=workplace,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_finished(workplace / "torchrun")


@pytest.mark.slow
def test_machines_that_do_not_share_the_runs_directory_do_not_go_on_from_different_steps(
    workplace: Path, tmp_path: Path
):
    """Two launchers are two machines to each other."""
    pixelwise(*words(workplace, str(tmp_path / "first")), cwd=workplace)
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    shutil.rmtree(tmp_path / "first" / "model")
    max((tmp_path / "second" / "checkpoints").iterdir()).unlink()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    more = ["--resume", "--nodes", "2", "--rendezvous", place]
    machines = [
        subprocess.Popen(
            [sys.executable, "-m", "pixelwise", *words(workplace, str(tmp_path / name), *more)],
            cwd=workplace,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("first", "second")
    ]
    errors = [machine.communicate(timeout=200)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [2, 2], errors
    assert any("has to be on a disk that all machines share" in said for said in errors), errors
    assert "Traceback (most recent call last)" not in "".join(errors)


def workers_of(launcher: int) -> list[int]:
    """The training processes that a launcher started, in their order."""
    found = []
    for line in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        with Path(f"/proc/{line}/environ").open("rb") as file:
            if b"LOCAL_RANK=" in file.read():
                found.append(int(line))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks the processes up in /proc")
@pytest.mark.parametrize("whom", ["worker", "launcher"])
def test_a_run_whose_process_was_killed_says_so_and_goes_on(workplace: Path, whom: str):
    run = workplace / f"killed-{whom}"
    process = subprocess.Popen(
        [sys.executable, "-m", "pixelwise", *words(workplace, run.name, "--devices", "2")],
        cwd=workplace,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not list((run / "checkpoints").glob("step-00000001-*.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    if whom == "worker":
        os.kill(workers[1], signal.SIGKILL)
    else:
        process.terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    assert "Traceback (most recent call last)" not in errors
    last = errors.strip().splitlines()[-1]
    sentence = "Process 1 of 2 was killed (SIGKILL)" if whom == "worker" else "The training was stopped (SIGTERM)"
    assert sentence in last
    assert "--resume" in last
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    pixelwise(*words(workplace, run.name, "--devices", "2", "--resume"), cwd=workplace)
    check_finished(run)
