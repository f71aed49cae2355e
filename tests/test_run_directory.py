"""One run at a time in a directory, whatever becomes of the process that held it; with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers import ENVIRONMENT
from pixelwise.errors import OutputError, RecipeError
from pixelwise.run_directory import RunDirectory

HOLDER = """
import os, sys, time
from pathlib import Path
from pixelwise.run_directory import RunDirectory

with RunDirectory(Path(sys.argv[1])).locked():
    children = []
    for _ in range(int(sys.argv[2])):
        child = os.fork()
        if child == 0:
            time.sleep(120)
            os._exit(0)
        children.append(child)
    print(*children, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(run: Path, *, children: int = 0) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process that holds a run directory, and children forked from it that sleep."""
    words = [sys.executable, "-c", HOLDER, str(run), str(children)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdin
    assert process.stdout
    forked = [int(word) for word in process.stdout.readline().split()]
    assert len(forked) == children
    try:
        yield process, forked
    finally:
        process.kill()
        process.wait()
        for child in forked:
            os.kill(child, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_whether_a_run_is_in_use_is_told_without_touching_it(tmp_path: Path):
    run = RunDirectory(tmp_path / "run")
    assert not run.in_use()
    with holder(run.root):
        assert run.in_use()
        with pytest.raises(RecipeError, match="is in use by another"), run.locked():
            pass
    assert not run.in_use()
    with run.locked():
        pass


def test_a_look_at_whether_it_is_in_use_keeps_no_training_from_it(tmp_path: Path):
    """Another process looks just as one begins; the look is held for a fifth of a second here, to meet it."""
    run = RunDirectory(tmp_path)
    lock = tmp_path / ".lock"
    lock.touch()
    look = "import fcntl, sys, time; file = open(sys.argv[1], 'rb'); fcntl.lockf(file, fcntl.LOCK_SH); print()"
    words = [sys.executable, "-c", f"{look}; sys.stdout.flush(); time.sleep(0.2)", str(lock)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        with run.locked():
            assert lock.read_text() == str(os.getpid())


@pytest.mark.parametrize("left", ["checkpoints", "model"])
@pytest.mark.parametrize("resume", [True, False])
def test_what_is_left_of_a_run_of_which_nobody_knows_the_recipe_is_neither_gone_on_with_nor_overwritten(
    tmp_path: Path, left: str, resume: bool
):
    (tmp_path / left).mkdir()
    with pytest.raises(RecipeError, match=r"holds a run without its recipe\.yaml"):
        RunDirectory(tmp_path).check("name: any", resume=resume)


def test_a_directory_in_use_is_refused_and_the_process_is_named(tmp_path: Path):
    run = RunDirectory(tmp_path / "run")
    with holder(run.root) as (process, _):
        for _ in range(2):  # a refusal does not loosen the lock
            with (
                pytest.raises(RecipeError, match=rf"run is in use by another training run \(process {process.pid}\)"),
                run.locked(),
            ):
                pytest.fail("two runs in one directory")
        assert names(run.root) == [".lock"]


@pytest.mark.parametrize("children", [0, 2])
def test_it_is_free_again_as_soon_as_its_holder_was_killed(tmp_path: Path, children: int):
    run = RunDirectory(tmp_path / "run")
    with holder(run.root, children=children) as (process, forked):
        process.kill()
        process.wait()
        for child in forked:
            os.kill(child, 0)  # still alive, as loader workers may be
        with run.locked():
            assert (run.root / ".lock").read_text() == str(os.getpid())


def test_it_is_free_again_when_its_holder_ended(tmp_path: Path):
    run = RunDirectory(tmp_path / "run")
    for _ in range(2):
        with run.locked():
            run.recipe.write_text("name: kept")
    assert names(run.root) == [".lock", "recipe.yaml"]


def test_a_directory_in_which_nothing_was_written_is_removed_again(tmp_path: Path):
    run = RunDirectory(tmp_path / "runs" / "run")
    with run.locked():
        assert run.root.is_dir()
    assert not run.root.exists()
    with pytest.raises(RecipeError, match="wrong"), run.locked():
        raise RecipeError("wrong")
    assert not run.root.exists()


def test_what_was_written_before_a_failure_stays(tmp_path: Path):
    run = RunDirectory(tmp_path / "run")

    def fail() -> None:
        with run.locked():
            run.log.write_text("{}\n")
            raise RecipeError("wrong")

    with pytest.raises(RecipeError, match="wrong"):
        fail()
    assert run.log.read_text() == "{}\n"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"The run directory .*file/run cannot be made: Not a directory"),
        RunDirectory(tmp_path / "file" / "run").locked(),
    ):
        pytest.fail("made below a file")


def test_a_free_directory_is_taken_with_and_without_resume(tmp_path: Path):
    run = RunDirectory(tmp_path / "run")
    for resume in (False, True):
        run.check("name: a\n", resume=resume)
    assert not run.root.exists()


def test_a_directory_with_a_run_goes_on_with_the_same_recipe_only(tmp_path: Path):
    run = RunDirectory(tmp_path)
    run.recipe.write_text("name: a\n")
    run.log.write_text("")
    run.check("name: a\n", resume=True)
    with pytest.raises(RecipeError, match="holds a run already; give --resume"):
        run.check("name: a\n", resume=False)
    with pytest.raises(RecipeError, match="another recipe than the one given") as caught:
        run.check("name: b\n", resume=True)
    assert str(run.recipe) in str(caught.value)


def test_a_run_goes_on_with_another_number_of_workers_which_changes_nothing(tmp_path: Path):
    run = RunDirectory(tmp_path)
    run.recipe.write_text("name: a\nsteps: 5\nworkers: 2\nlog_to: []\n")
    run.log.write_text("")
    run.check("name: a\nsteps: 5\nworkers: 0\nlog_to: []\n", resume=True)
    with pytest.raises(RecipeError, match="another recipe than the one given"):
        run.check("name: a\nsteps: 6\nworkers: 0\nlog_to: []\n", resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_was_stopped_before_its_first_line_is_none(tmp_path: Path, resume: bool):
    run = RunDirectory(tmp_path)
    run.recipe.write_text("name: a\n")
    run.check("name: b\n", resume=resume)


def test_the_clock_says_what_was_noted_and_nothing_where_it_cannot_be_read(tmp_path: Path):
    directory = RunDirectory(tmp_path)
    assert directory.seconds() == 0
    directory.note_seconds(61.26)
    assert directory.seconds() == 61.3
    for damaged in ("", "{}", "[]", '{"seconds": "soon"}', '{"seconds": null}'):
        directory.clock.write_text(damaged)
        assert directory.seconds() == 0
