from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pixelwise.batch
from helpers import COLOURS, ENVIRONMENT, SPEC, ColourEngine, colourful_photo, digests, folder_that_cannot_be_listed
from helpers import PHOTOS as EXAMPLES
from pixelwise.batch import Job, Outcome, at_once, plan, run
from pixelwise.errors import EngineError, ImageError, OutputError
from pixelwise.ledger import LEDGER
from pixelwise.masks import read_index_mask
from pixelwise.segmenter import Segmenter
from pixelwise.tiling import Tiling

OUT = Path("segmented")


@pytest.fixture(autouse=True)
def _work_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def photos(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colourful_photo(8, 9)).save(name, "PNG")


def planned(*inputs: str, out: Path = OUT) -> dict[str, str]:
    """Source -> output of the jobs, none of the inputs refused."""
    jobs, failures = plan(inputs, out=out)
    assert failures == []
    assert len({job.output for job in jobs}) == len(jobs)
    return {job.source: job.output.as_posix() for job in jobs}


def refused(given: str, *, out: Path = OUT) -> str:
    """The message about an input that stands for no photo."""
    jobs, (failure,) = plan([given], out=out)
    assert jobs == []
    assert failure.job.source == given
    assert isinstance(failure.error, ImageError)
    return str(failure.error)


def outcomes(jobs: list[Job], *, engine=None, force: bool = False, what=("mask",), **options) -> list[Outcome]:
    segmenter = Segmenter(engine or ColourEngine(), COLOURS, SPEC)
    return list(run(segmenter, jobs, out=OUT, what=what, opacity=0.5, force=force, **options))


# What inputs stand for.


def test_files_are_named_by_their_stem():
    assert planned("a/b/cat.tar.jpg", "dog.png") == {"a/b/cat.tar.jpg": "cat.tar", "dog.png": "dog"}


def test_a_missing_file_is_for_the_reader_to_complain_about():
    assert planned("absent.jpg") == {"absent.jpg": "absent"}


def test_standard_input_is_called_stdin():
    assert planned("-") == {"-": "stdin"}


def test_a_folder_is_searched_with_all_its_subfolders_whose_structure_is_kept():
    photos("in/b.png", "in/a.jpg", "in/deep/er/c.PNG", "in/.hidden.png", "in/.git/d.png")
    Path("in/notes.txt").write_text("no photo")
    assert planned("in") == {"in/a.jpg": "a", "in/b.png": "b", "in/deep/er/c.PNG": "deep/er/c"}


def test_a_pattern_is_resolved_in_order_also_across_folders():
    photos("b.png", "a.png", "x/c.png", "x/y/d.png", "e.jpg")
    assert list(planned("*.png")) == ["a.png", "b.png"]
    assert set(planned("**/*.png")) == {"a.png", "b.png", "x/c.png", "x/y/d.png"}


def test_an_absolute_pattern_is_resolved(tmp_path: Path):
    photos("a.png")
    assert planned(str(tmp_path / "*.png")) == {str(tmp_path / "a.png"): "a"}


def test_a_file_whose_name_looks_like_a_pattern_is_that_file():
    photos("a[1].png", "a1.png")
    assert planned("a[1].png") == {"a[1].png": "a[1]"}


def test_each_photo_is_taken_once_however_often_it_is_named(tmp_path: Path):
    photos("in/a.png", "in/b.png")
    assert list(planned("in/b.png", "in", "in/*.png", "./in/a.png", str(tmp_path / "in" / "b.png"))) == [
        "in/b.png",
        "in/a.png",
    ]


def test_colliding_names_get_their_suffix_and_then_a_number():
    assert planned("a.jpg", "a.png", "x/a.png", "y/a.png", "A.JPG") == {
        "a.jpg": "a",
        "a.png": "a_png",
        "x/a.png": "a-2",
        "y/a.png": "a-3",
        "A.JPG": "A_jpg",
    }


def test_a_name_whose_stem_is_the_directory_keeps_its_suffix():
    photos("..jpg")
    assert planned("..jpg", "absent/..png") == {"..jpg": "..jpg", "absent/..png": "..png"}
    (done,) = outcomes(plan([".*.jpg", "..j?g"], out=OUT)[0])
    assert done.files == (OUT / "..jpg_mask.png",)


def test_names_that_collide_with_a_name_given_to_another_are_told_apart():
    assert len(set(planned("a.jpg", "a.png", "a_png.jpg", "a_png.png").values())) == 4


# Results of an earlier run.


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ("in", "in/out"),
        (".", "segmented"),
        (".", "."),
        ("in", "in"),
        ("in", "."),
        ("in/*", "in"),
        ("**/*", "segmented"),
    ],
)
def test_results_of_an_earlier_run_are_not_photos(given: str, out: str):
    photos("in/cat.png", "in/dog_mask.jpg")
    jobs, _ = plan([given], out=Path(out))
    before = {job.source for job in jobs}
    assert before == {"in/cat.png", "in/dog_mask.jpg"}
    outcomes_of = run(
        Segmenter(ColourEngine(), COLOURS, SPEC),
        jobs,
        out=Path(out),
        what=("mask", "overlay", "panel", "json"),
        opacity=0.5,
        force=False,
    )
    assert all(outcome.error is None for outcome in outcomes_of)
    jobs, _ = plan([given], out=Path(out))
    assert {job.source for job in jobs} == before


def test_a_photo_in_the_output_directory_is_a_photo():
    photos("segmented/cat.png", "elsewhere/cat_mask.png")
    assert planned("segmented") == {"segmented/cat.png": "cat"}
    assert planned("elsewhere") == {"elsewhere/cat_mask.png": "cat_mask"}
    assert planned("segmented/cat_mask.png") == {"segmented/cat_mask.png": "cat_mask"}  # who names it means it


def test_an_output_directory_that_is_a_link_to_itself_is_said():
    photos("in/a.png")
    OUT.symlink_to(OUT)
    jobs, _ = plan(["in"], out=OUT)
    with pytest.raises(OutputError, match="directory segmented cannot be made"):
        outcomes(jobs)


# What stands for nothing.


def test_an_empty_folder_is_refused():
    Path("in").mkdir()
    assert refused("in") == "in: there is no photo in this folder or below it."
    assert refused(".") == ".: there is no photo in this folder or below it."


def test_a_folder_that_cannot_be_listed_costs_what_is_in_it(tmp_path: Path):
    photos("in/a.png", "in/b/c.png")
    folder_that_cannot_be_listed(tmp_path / "in" / "b")
    jobs, (failure,) = plan(["in"], out=OUT)
    assert [job.source for job in jobs] == ["in/a.png", "in/b/c.png"]
    assert re.fullmatch(r"The folder in/b/\w+/.* cannot be listed \(File name too long\)\.", str(failure.error))


def test_a_pattern_without_a_match_is_refused():
    Path("folder.png").mkdir()
    assert refused("*.png") == "*.png: no file matches this pattern."


def test_an_empty_input_is_not_the_current_directory():
    photos("a.png")
    assert "empty" in refused("")


def test_a_name_too_long_for_the_file_system_is_the_readers_business():
    (job,), failures = plan(["x" * 5000], out=OUT)
    assert failures == []
    (outcome,) = outcomes([job])
    assert isinstance(outcome.error, (ImageError, OutputError))


def test_a_refused_input_does_not_keep_the_others():
    photos("a.png")
    jobs, failures = plan(["*.gif", "a.png"], out=OUT)
    assert [job.source for job in jobs] == ["a.png"]
    assert len(failures) == 1


# Running.


def test_a_bad_photo_costs_that_photo():
    photos(*(f"in/{i}.png" for i in range(9)))
    Path("in/4x.png").write_bytes(b"no picture")
    found = outcomes(plan(["in"], out=OUT)[0], what=("mask", "json"))
    assert [outcome.job.source for outcome in found if outcome.error] == ["in/4x.png"]
    for outcome in found:
        if outcome.error is None:
            assert [path.name for path in outcome.files] == [
                f"{outcome.job.output}_mask.png",
                f"{outcome.job.output}.json",
            ]
            assert all(path.is_file() for path in outcome.files)
            assert sum(entry.share for entry in outcome.classes) == pytest.approx(1)
    assert len(list(OUT.glob("[0-9]*"))) == 18


def test_each_photo_advances_by_one_whether_tiled_whole_or_broken():
    photos("small.png")
    Image.fromarray(colourful_photo(200, 90)).save("large.png")
    Path("broken.png").write_bytes(b"no photo")
    segmenter = Segmenter(ColourEngine(), COLOURS, SPEC, size="native", tiling=Tiling(64, 32))
    for name, tiles in (("small", 0), ("large", 6 * 2), ("broken", 0)):
        shares: list[float] = []
        jobs, _ = plan([f"{name}.png"], out=OUT)
        list(run(segmenter, jobs, out=OUT, what=["mask"], opacity=0.5, force=False, advance=shares.append))
        assert sum(shares) == pytest.approx(1)
        assert len(shares) == tiles + 1


def test_saved_masks_are_those_of_the_segmenter():
    photos("a.png")
    (outcome,) = outcomes(plan(["a.png"], out=OUT)[0])
    expected = Segmenter(ColourEngine(), COLOURS, SPEC)("a.png").mask
    np.testing.assert_array_equal(read_index_mask(outcome.files[0]), expected)


def test_nothing_is_overwritten_without_force_not_even_the_first_of_many():
    photos("a.png", "b.png")
    outcomes(plan(["b.png"], out=OUT)[0])
    before = digests(OUT)
    jobs, _ = plan(["a.png", "b.png"], out=OUT)
    engine = ColourEngine()
    with pytest.raises(OutputError, match=r"b_mask\.png would be overwritten"):
        outcomes(jobs, engine=engine)
    assert digests(OUT) == before
    assert engine.seen == []
    assert all(outcome.error is None for outcome in outcomes(jobs, force=True))


def test_a_result_that_cannot_be_written_costs_that_photo():
    photos("a.png", "x" * 248 + ".png", "c.png")
    found = outcomes(plan(["a.png", "x" * 248 + ".png", "c.png"], out=OUT)[0])
    assert [type(outcome.error) for outcome in found] == [type(None), OutputError, type(None)]


def test_an_engine_that_fails_or_runs_out_of_memory_costs_that_photo():
    photos("a.png", "b.png", "c.png")
    errors = iter([EngineError("It failed."), MemoryError()])

    class Failing(ColourEngine):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            if error := next(errors, None):
                raise error
            return super().__call__(images)

    first, second, third = outcomes(plan(["?.png"], out=OUT)[0], engine=Failing())
    assert str(first.error) == "It failed."
    assert str(second.error) == "b.png: there is not enough memory for a photo of this size."
    assert third.error is None


def test_a_photo_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch):
    photos("a.png")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("a.png").read_bytes())))
    (outcome,) = outcomes(plan(["-"], out=OUT)[0])
    assert outcome.files == (OUT / "stdin_mask.png",)


def test_an_overlay_too_long_for_jpeg_is_a_png():
    Image.fromarray(colourful_photo(1, 66_000)).save("long.png")
    everything = ("mask", "overlay", "panel", "json")
    (done,) = outcomes(plan(["long.png"], out=OUT)[0], what=everything)
    assert done.error is None
    assert [path.name for path in done.files] == [
        "long_mask.png", "long_overlay.png", "long_panel.jpg", "long.json",
    ]  # fmt: skip
    assert all(path.is_file() for path in done.files)
    shutil.copy("long.png", OUT)
    assert planned("segmented") == {"segmented/long.png": "long"}
    for path in (done.files[0], *done.files[2:]):
        path.unlink()
    with pytest.raises(OutputError, match=r"long_overlay\.png would be overwritten"):
        outcomes(plan(["long.png"], out=OUT)[0], what=everything)


def test_of_standard_input_too_long_for_jpeg_nothing_is_overwritten(monkeypatch: pytest.MonkeyPatch):
    Image.fromarray(colourful_photo(1, 66_000)).save(photo := io.BytesIO(), "PNG")
    found = []
    for force in (False, False, True):
        (OUT / "stdin_mask.png").unlink(missing_ok=True)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo.getvalue())))
        found += outcomes(plan(["-"], out=OUT)[0], what=("mask", "overlay"), force=force)
    assert found[0].files == (OUT / "stdin_mask.png", OUT / "stdin_overlay.png")
    assert "stdin_overlay.png would be overwritten" in str(found[1].error)
    assert found[2].error is None


def test_standard_input_that_is_closed_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", None)
    (outcome,) = outcomes(plan(["-"], out=OUT)[0])
    assert "no standard input" in str(outcome.error)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system has no /dev/fd")
@pytest.mark.parametrize("streams", [1, 2])
def test_pipes_are_read_once(streams: int):
    """As a shell's `<(cat a.png)` gives them."""
    photos("a.png")
    ends = [os.pipe() for _ in range(2)]
    for _, write in ends:
        os.write(write, Path("a.png").read_bytes())
        os.close(write)
    found = outcomes(plan([f"/dev/fd/{read}" for read, _ in ends], out=OUT)[0], streams=streams)
    for read, _ in ends:
        os.close(read)
    assert [outcome.error for outcome in found] == [None, None]


# Several at once.


def test_photos_overlap_and_their_outcomes_keep_their_order():
    """The first photo is computed until the third has begun."""
    names = [f"{i:02}.png" for i in range(30)]
    for i, name in enumerate(names):
        Image.fromarray(colourful_photo(8 + i, 9)).save(name)
    third = threading.Event()

    class Waiting(ColourEngine):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            if len(self.seen) == 0:
                self.seen.append(images)
                assert third.wait(10)
            elif len(self.seen) == 2:
                third.set()
            return super().__call__(images)

    jobs, _ = plan(["*.png"], out=OUT)
    found = outcomes(jobs, engine=Waiting(), streams=2)
    assert [outcome.job.source for outcome in found] == names
    assert [outcome.error for outcome in found] == [None] * 30
    overlapped = {path.name: path.read_bytes() for path in OUT.glob("*.png")}
    outcomes(jobs, force=True)
    assert {path.name: path.read_bytes() for path in OUT.glob("*.png")} == overlapped


def test_large_photos_do_not_stand_in_memory_side_by_side(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pixelwise.batch, "_PIXELS_AT_ONCE", 8 * 9 + 1)
    photos(*(f"{i}.png" for i in range(6)))
    inside: list[int] = []

    class Counting(ColourEngine):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            inside.append(1)
            time.sleep(0.02)
            if len(inside) != 1:
                raise EngineError("They overlap.")
            inside.pop()
            return super().__call__(images)

    found = outcomes(plan(["*.png"], out=OUT)[0], engine=Counting(), streams=4)
    assert [outcome.error for outcome in found] == [None] * 6


def test_who_stops_listening_stops_the_work():
    photos("a.png")
    Image.fromarray(colourful_photo(600, 600)).save("b.png")
    engine = ColourEngine()
    segmenter = Segmenter(engine, COLOURS, SPEC, size="native", tiling=Tiling(64, 32))
    jobs, _ = plan(["?.png"], out=OUT)
    slowly = {"streams": 2, "advance": lambda share: time.sleep(0.01)}
    results = run(segmenter, jobs, out=OUT, what=["mask"], opacity=0.5, force=False, **slowly)
    assert next(results).job.source == "a.png"
    results.close()
    assert len(engine.seen) < 100  # of 1 + 18 x 18
    assert sorted(path.name for path in OUT.iterdir()) == [LEDGER, "a_mask.png"]


# Going on.


def test_a_run_goes_on_where_it_was_ended():
    photos(*(f"{i}.png" for i in range(6)))
    jobs, _ = plan(["*.png"], out=OUT)
    first = outcomes(jobs[:4])
    results = {path.name: path.read_bytes() for path in OUT.glob("*.png")}
    (OUT / "1_mask.png").unlink()  # as if somebody had moved it
    ledger = (OUT / LEDGER).read_text()
    (OUT / LEDGER).write_text(ledger[:-40])  # killed in the middle of the last line, of number 3
    Image.fromarray(colourful_photo(12, 9)).save("2.png")  # another photo than it was
    engine = ColourEngine()
    found = outcomes(jobs, engine=engine, resume=True)
    assert [outcome.before for outcome in found] == [True, False, False, False, False, False]
    assert [outcome.error for outcome in found] == [None] * 6
    assert len(engine.seen) == 5
    assert found[0] == replace(first[0], before=True)
    now = {path.name: path.read_bytes() for path in OUT.glob("*.png")}
    assert [now[f"{i}_mask.png"] == results[f"{i}_mask.png"] for i in range(4)] == [True, True, False, True]
    assert all(outcome.before for outcome in outcomes(jobs, resume=True))
    assert {path.name: path.read_bytes() for path in OUT.glob("*.png")} == now


def test_resuming_writes_over_nothing_of_another_run():
    photos("a.png", "b.png", "c.png")
    jobs, _ = plan(["?.png"], out=OUT)
    outcomes(jobs[:2])
    before = digests(OUT)
    with pytest.raises(OutputError, match=r"a_mask\.png and 1 more would be overwritten; give --resume to go on with"):
        outcomes(jobs)
    for other in ({"model": "another"}, {"what": ("mask", "json")}):
        with pytest.raises(OutputError, match=r"a_mask\.png and 1 more would be overwritten; give --force"):
            outcomes(jobs, resume=True, **other)
    (OUT / "c_mask.png").write_text("mine")
    with pytest.raises(OutputError, match=r"c_mask\.png would be overwritten; "):
        outcomes(jobs, resume=True)
    (OUT / "c_mask.png").unlink()
    assert digests(OUT) == before


def test_a_photo_by_itself_is_entered_where_there_is_a_ledger():
    photos("a.png", "cat.png")
    Image.fromarray(colourful_photo(8, 9, seed=1)).save(other := Path("other.png"))
    jobs, _ = plan(["a.png", "cat.png"], out=OUT)
    outcomes(jobs)
    right = (OUT / "cat_mask.png").read_bytes()
    outcomes([Job(str(other), Path("cat"))], force=True)
    assert (OUT / "cat_mask.png").read_bytes() != right
    photos("b.png")
    (alone,) = outcomes(plan(["b.png"], out=OUT)[0])
    assert alone.error is None
    with pytest.raises(OutputError, match=r"cat_mask\.png would be overwritten; give --force"):  # it is other.png's
        outcomes(jobs, resume=True)
    found = outcomes(jobs, resume=True, force=True)
    assert [outcome.before for outcome in found] == [True, False]
    assert (OUT / "cat_mask.png").read_bytes() == right


@pytest.mark.parametrize("older", [False, True])
def test_resuming_writes_over_nothing_of_another_photo_of_that_name(older: bool):
    for seed, name in enumerate(("A/x.png", "B/x.png", "C/y.png")):
        Path(name).parent.mkdir()
        Image.fromarray(colourful_photo(8, 9, seed=seed)).save(name)
    outcomes(plan(["A"], out=OUT)[0], resume=True)
    if older:  # without the paths of files
        lines = map(json.loads, filter(None, (OUT / LEDGER).read_text().splitlines()))
        told = [{key: value for key, value in line.items() if key != "source"} for line in lines]
        (OUT / LEDGER).write_text("\n".join(map(json.dumps, told)))
    before = digests(OUT)
    with pytest.raises(OutputError, match=r"x_mask\.png would be overwritten; give --force"):
        outcomes(plan(["B", "C"], out=OUT)[0], resume=True)
    assert digests(OUT) == before
    Path("A").rename("moved")
    (done,) = outcomes(plan(["moved"], out=OUT)[0], resume=True)
    assert done.before


def test_standard_input_is_never_the_same_photo(monkeypatch: pytest.MonkeyPatch):
    photos("a.png")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("a.png").read_bytes())))
    jobs, _ = plan(["-"], out=OUT)
    assert outcomes(jobs, resume=True)[0].error is None
    with pytest.raises(OutputError, match=r"stdin_mask\.png would be overwritten"):
        outcomes(jobs, resume=True)


def test_two_runs_at_once_keep_one_ledger():
    photos(*(f"{i}.png" for i in range(8)))
    jobs, _ = plan(["*.png"], out=OUT)
    settings = {"out": OUT, "what": ["mask"], "opacity": 0.5, "force": False}
    segmenter = Segmenter(ColourEngine(), COLOURS, SPEC)
    runs = [run(segmenter, some, **settings) for some in (jobs[::2], jobs[1::2])]
    for pair in zip(*runs, strict=True):  # by turns
        assert [outcome.error for outcome in pair] == [None, None]
    assert all(outcome.before for outcome in outcomes(jobs, resume=True))


@pytest.mark.parametrize("damage", ["", "{}", '{"output": "a"}', "[1]", "\x80", '{"output": "a", "classes": [1]}'])
def test_a_damaged_ledger_knows_nothing(damage: str):
    photos("a.png", "b.png")
    OUT.mkdir()
    (OUT / LEDGER).write_text(damage, encoding="latin-1")
    jobs, _ = plan(["?.png"], out=OUT)
    assert [(outcome.before, outcome.error) for outcome in outcomes(jobs, resume=True)] == [(False, None)] * 2
    assert all(outcome.before for outcome in outcomes(jobs, resume=True))


@pytest.mark.slow
def test_a_killed_command_is_resumed(tmp_path: Path):
    """A real one, killed as soon as some photos are done; what it leaves is made whole by the same command again."""
    (tmp_path / "in").mkdir()
    for i in range(40):
        shutil.copy(EXAMPLES / "chelsea.png", tmp_path / "in" / f"{i:02}.png")
    command = [sys.executable, "-m", "pixelwise", "segment", "in", "--resume"]
    process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT)
    deadline = time.monotonic() + 120
    while len(list(OUT.glob("*_overlay.jpg"))) <= 2 * at_once(range(40)):  # more than may be on their way
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = len(list(OUT.glob("*_mask.png")))
    assert done < 40
    again = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=True
    )
    (before,) = re.findall(r"(\d+) of 40 had been done before", again.stdout)
    assert 1 <= int(before) <= done
    masks = list(OUT.glob("*_mask.png"))
    assert len(masks) == len(list(OUT.glob("*_overlay.jpg"))) == 40
    assert len({path.read_bytes() for path in masks}) == 1
