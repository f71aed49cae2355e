"""What a run writes down: its own log, and TensorBoard's files read by TensorBoard itself."""

from __future__ import annotations

import errno
import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from pixelwise.errors import OutputError, PixelwiseError

pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from pixelwise.run_directory import RunDirectory, read_log
from pixelwise.run_log import RunLog, check_services


def figures(step: int, life: int = 0) -> dict[str, float]:
    """Of a step: every third is validated."""
    scalars = {"loss": 1 / step + life, "lr": 1e-3}
    return scalars | ({"val_miou": step / 100, "train_miou": math.nan} if step % 30 == 0 else {})


def live(run: RunDirectory, steps: Sequence[int], *, start: int = 0, life: int = 0) -> None:
    with RunLog(run, start_step=start, settings={"name": "tiny"}, services=[]) as log:
        for step in steps:
            log.write(step, figures(step, life), speed=7.5 + life)


def told_to_tensorboard(run: RunDirectory) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def test_a_line_a_step_with_six_digits_and_without_the_clock(run: RunDirectory):
    with RunLog(run, start_step=0, settings={}, services=[]) as log:
        log.write(10, {"loss": 1 / 3, "lr": 1.23456789e-5, "val_miou": 0.5}, speed=12.0)
        log.write(20, {"loss": 2.0, "val_miou": math.nan, "val_loss": math.inf}, speed=13.0)
    assert run.log.read_text() == (
        '{"step": 10, "loss": 0.333333, "lr": 1.23457e-05, "val_miou": 0.5}\n{"step": 20, "loss": 2.0}\n'
    )
    assert read_log(run.log) == [json.loads(line) for line in run.log.read_text().splitlines()]


def test_a_full_disk_is_one_sentence(run: RunDirectory):
    run.log.symlink_to("/dev/full")
    with (
        pytest.raises(OutputError, match=r"The log in .* cannot be written: No space left on device\.") as caught,
        RunLog(run, start_step=0, settings={}, services=[]) as log,
    ):
        log.write(10, {"loss": 1.0}, speed=12.0)
    assert str(run.root) in str(caught.value)


def test_what_went_wrong_first_is_what_is_said(run: RunDirectory):
    class Full:
        def write(self, scalars: object, *, step: int) -> None: ...

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    def log_until(error: Exception | None) -> None:
        with RunLog(run, start_step=0, settings={}, services=[]) as log:
            log._sinks.append(Full())
            if error is not None:
                raise error

    with pytest.raises(ValueError, match="first"):
        log_until(ValueError("first"))
    with pytest.raises(OutputError, match="No space left"):
        log_until(None)


def test_tensorboard_reads_what_was_written(run: RunDirectory):
    live(run, [10, 20, 30])
    told = told_to_tensorboard(run)
    assert set(told) == {"loss", "lr", "val/miou", "images_per_second"}  # train_miou is nowhere defined
    assert told["loss"] == [(step, pytest.approx(1 / step)) for step in (10, 20, 30)]
    assert told["val/miou"] == [(30, pytest.approx(0.3))]
    assert told["images_per_second"] == [(step, 7.5) for step in (10, 20, 30)]


def test_a_run_that_goes_on_takes_later_steps_back_and_no_others(run: RunDirectory):
    live(run, [10, 20, 30, 40, 50])
    before = run.log.read_bytes().splitlines(keepends=True)
    live(run, [40, 50, 60], start=30, life=1)
    after = run.log.read_bytes().splitlines(keepends=True)
    assert after[:3] == before[:3]
    assert [json.loads(line)["step"] for line in after] == [10, 20, 30, 40, 50, 60]
    told = told_to_tensorboard(run)
    expected = [(step, 1 / step + (step > 30)) for step in (10, 20, 30, 40, 50, 60)]
    assert told["loss"] == [(step, pytest.approx(value)) for step, value in expected]
    assert [step for step, _ in told["val/miou"]] == [30, 60]


def test_a_run_that_starts_anew_shows_nothing_of_the_life_before(run: RunDirectory):
    live(run, [10, 20])
    live(run, [], start=0)
    assert run.log.read_bytes() == b""
    assert all(not points for points in told_to_tensorboard(run).values())


def test_wherever_a_line_is_torn_the_log_goes_on_byte_for_byte(run: RunDirectory, tmp_path: Path):
    live(run, [10, 20, 30, 40])
    whole = run.log.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    torn = RunDirectory(tmp_path / "torn")
    torn.root.mkdir()
    for cut in (last, last + 1, (last + len(whole)) // 2, len(whole) - 2, len(whole) - 1):
        torn.log.write_bytes(whole[:cut])
        live(torn, [40], start=30)
        assert torn.log.read_bytes() == whole, cut


@pytest.mark.parametrize("rest", [b"\0\0\0\0", b'\xff\xfe{"step"', b"\n\n"])
def test_rubbish_after_the_last_whole_line_is_taken_back(run: RunDirectory, rest: bytes):
    live(run, [10, 20])
    whole = run.log.read_bytes()
    run.log.write_bytes(whole + rest)
    assert [entry["step"] for entry in read_log(run.log)] == [10, 20]
    live(run, [], start=20)
    assert run.log.read_bytes() == whole


def test_a_log_that_is_not_there_has_no_entries(run: RunDirectory):
    assert read_log(run.log) == []


@pytest.mark.parametrize("service", ["mlflow", "wandb"])
def test_a_service_whose_package_is_missing_is_named_with_what_to_install(service: str):
    if importlib.util.find_spec(service):
        pytest.skip(f"{service} is installed")
    with pytest.raises(PixelwiseError) as caught:
        check_services([service])
    assert str(caught.value) == f"`log_to` asks for {service}, which is not installed; `pip install {service}`."
    check_services([])


def of_two_lives(run: RunDirectory, service: str) -> None:
    for start, steps in ((0, [10, 20, 30]), (20, [30, 40])):
        settings = {"name": "tiny", "batch_size": 4}
        with RunLog(run, start_step=start, settings=settings, services=[service]) as log:
            for step in steps:
                log.write(step, figures(step, life=start), speed=7.5)


@pytest.mark.filterwarnings("ignore")  # MLflow's own, of the libraries below it
def test_mlflow_knows_a_run_that_went_on_as_one(run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is installed by whoever wants it")
    monkeypatch.chdir(run.root)
    mlflow.set_tracking_uri(f"sqlite:///{run.root / 'runs.db'}")
    of_two_lives(run, "mlflow")
    (found,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert found.info.run_name == run.root.name
    history = mlflow.MlflowClient().get_metric_history(found.info.run_id, "loss")
    assert [(entry.step, entry.value) for entry in history][-2:] == [(30, 1 / 30 + 20), (40, 1 / 40 + 20)]
    assert json.loads(mlflow.artifacts.load_text(f"{found.info.artifact_uri}/recipe.json"))["batch_size"] == 4
    (run.root / "mlflow.id").write_text("0" * 32)
    with pytest.raises(PixelwiseError, match=r"does not know the run in .*mlflow\.id.*remove that file"):
        of_two_lives(run, "mlflow")


def test_wandb_knows_a_run_that_went_on_as_one(run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb", reason="Weights & Biases is installed by whoever wants it")
    monkeypatch.setenv("WANDB_MODE", "offline")
    of_two_lives(run, "wandb")
    lives = sorted((run.root / "wandb").glob("offline-run-*"))
    assert len(lives) == 2
    assert {path.name.rpartition("-")[2] for path in lives} == {(run.root / "wandb.id").read_text()}
