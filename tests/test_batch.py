from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import COLOURS, SPEC, ColourEngine, colourful_photo, digests
from pixelwise.batch import Job, Outcome, plan, run
from pixelwise.errors import EngineError, ImageError, OutputError
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


def outcomes(jobs: list[Job], *, engine=None, force: bool = False, what=("mask",)) -> list[Outcome]:
    segmenter = Segmenter(engine or ColourEngine(), COLOURS, SPEC)
    return list(run(segmenter, jobs, out=OUT, what=what, opacity=0.5, force=force))


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


# What stands for nothing.


def test_an_empty_folder_is_refused():
    Path("in").mkdir()
    assert refused("in") == "in: there is no photo in this folder or below it."
    assert refused(".") == ".: there is no photo in this folder or below it."


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
    assert len(list(OUT.iterdir())) == 18


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


def test_standard_input_that_is_closed_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", None)
    (outcome,) = outcomes(plan(["-"], out=OUT)[0])
    assert "no standard input" in str(outcome.error)
