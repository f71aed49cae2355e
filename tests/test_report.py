from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import COLOURS
from pixelwise.batch import Job, Outcome
from pixelwise.bootstrap import bootstrap_mean_iou
from pixelwise.errors import ImageError, OutputError, PixelwiseError
from pixelwise.evaluate import Counter, Evaluation
from pixelwise.figures import figures
from pixelwise.labels import ClassShare
from pixelwise.report import check_request, print_evaluation, print_outcomes

CLASSES = (ClassShare(1, "red", (255, 0, 0), 0.75, 0.5), ClassShare(0, "background", (0, 0, 0), 0.0001, 1.0))


def done(source: str = "a.png", *, files: tuple[Path, ...] = (Path("out/a_mask.png"),)) -> Outcome:
    return Outcome(Job(source, Path("a")), CLASSES, ("first of 3 frames",), files)


def failed(message: str = "b.png is empty.") -> Outcome:
    return Outcome(Job("b.png", Path("b")), error=ImageError(message))


def evaluation() -> Evaluation:
    """Two photos; red is right on 3 of 4 pixels, green once taken for red, blue nowhere; a third is not readable."""
    pairs = [([[0, 0, 1, 1]], [[0, 0, 1, 1]]), ([[0, 255, 1, 2]], [[0, 0, 1, 1]])]
    arrays = [(np.array(truth, np.uint8), np.array(answer, np.uint8)) for truth, answer in pairs]
    counter = Counter(COLOURS)
    for truth, answer in arrays:
        counter.add(truth, answer, np.full(truth.shape, 0.75, np.float16), name="a")
    return Evaluation(counter.matrix, counter.counts(), ("a", "b"), COLOURS, (("c", "c.png is empty."),))


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([done()], 0),
        ([done(), done()], 0),
        ([done(), failed()], 1),
        ([failed()], 2),
        ([failed(), failed()], 2),
        ([], 2),
    ],
)
def test_exit_status(outcomes: list[Outcome], status: int):
    assert print_outcomes(outcomes, quiet=True) == status


def test_classes_go_to_standard_output_and_failures_to_standard_error(capsys: pytest.CaptureFixture[str]):
    print_outcomes([done(), failed()], quiet=False)
    out, err = capsys.readouterr()
    assert "red" in out
    assert "75.0 %" in out
    assert "50.0 %" in out
    assert "<0.1 %" in out
    assert "note: first of 3 frames\n-> out/a_mask.png\n" in out
    assert "b.png" not in out
    assert err == "pixelwise: b.png is empty.\n1 of 2 inputs failed; the other 1 are done.\n"


def test_quiet_leaves_the_errors(capsys: pytest.CaptureFixture[str]):
    print_outcomes([done(), failed()], quiet=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "b.png is empty" in err


def test_many_photos_get_one_line_each(capsys: pytest.CaptureFixture[str]):
    print_outcomes([done(f"photo-{i}.png") for i in range(13)], quiet=False)
    out, _ = capsys.readouterr()
    assert "13 photos" in out
    assert all(f"photo-{i}.png" in out for i in range(13))
    assert out.count("red 75.0 %") == 13


def test_of_many_photos_each_note_is_told_once(capsys: pytest.CaptureFixture[str]):
    lost = replace(done("map.tif"), notes=("its georeference is lost", "first of 3 frames"))
    print_outcomes([*(done(f"photo-{i}.png") for i in range(12)), lost, replace(done(), notes=())], quiet=False)
    out, _ = capsys.readouterr()
    notes = [line for line in out.splitlines() if line.startswith("note: ")]
    assert notes == ["note: first of 3 frames (13 of 14 photos)", "note: its georeference is lost (1 of 14 photos)"]


@pytest.mark.parametrize("name", ["[bold]a[/bold].png", "x[/y]/a.png", ":cat:.png", "[link=x]", "x" * 200 + ".png"])
@pytest.mark.parametrize("count", [1, 13])
def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], name: str, count: int):
    print_outcomes([done(name, files=(Path(name),))] * count + [failed(f"{name} is empty.")], quiet=False)
    out, err = capsys.readouterr()
    assert f"pixelwise: {name} is empty.\n" in err
    if count == 1:
        assert out.startswith(f"{name}\n")
        assert f"-> {name}\n" in out
    else:
        assert "…" not in out
        assert out.count(name[0]) >= name.count(name[0]) * count


# Evaluations.


def test_an_evaluation_prints_each_class_and_the_means(capsys: pytest.CaptureFixture[str]):
    measured = evaluation()
    further = {"mean IoU over red, green": bootstrap_mean_iou(measured.per_image, over=[1, 2])}
    print_evaluation(measured, figures(measured.counts), subset=further)
    out, err = capsys.readouterr()
    assert out.startswith("2 photos ")
    assert "Intervals: 95 %, bootstrap over photos, too narrow as these are few." in out
    rows = {line.split()[1]: line for line in out.splitlines() if line.startswith("│")}
    assert "1.000" in rows["background"]
    assert "0.750" in rows["red"]
    assert rows["green"].count("0.000") == 5
    assert rows["blue"].count("undefined") == 5
    lines = {line[:29].strip(): line[29:].split() for line in out.splitlines()}
    assert lines["mean IoU"][0] == "0.583"
    assert lines["mean IoU over red, green"][0] == "0.375"
    assert lines["pixel accuracy"][0] == "0.857"
    assert lines["expected calibration error"][0] == "0.107"  # 6 of 7 right, 0.75 sure
    assert "Left out of mean IoU and mean Dice, as neither in the ground truth nor predicted: blue." in out
    assert "c.png" not in out
    assert err == "pixelwise: c.png is empty.\n1 of 3 photos could not be measured and are in no figure.\n"


def test_a_request_that_cannot_be_met_is_refused(tmp_path: Path):
    there = tmp_path / "there.json"
    there.write_text("precious")
    with pytest.raises(PixelwiseError, match="no class cat, dog; there are: background, red, green, blue"):
        check_request(COLOURS, over=["cat", "red", "dog"], files=[])
    with pytest.raises(OutputError, match=r"there\.json exists already"):
        check_request(COLOURS, over=[], files=[there])
    with pytest.raises(OutputError, match=r"There is no directory .*absent to write x\.json to"):
        check_request(COLOURS, over=[], files=[tmp_path / "absent" / "x.json"])
    with pytest.raises(OutputError, match=r"x\.json is to be written twice"):
        check_request(COLOURS, over=[], files=[tmp_path / "x.json"] * 2)
    check_request(COLOURS, over=["red"], files=[tmp_path / "x.json", tmp_path / "x.csv"])
    assert there.read_text() == "precious"
