from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from helpers import ROOT, pixelwise
from pixelwise.advise import AIMS, DATASETS, Case, advise, command, largest_size, measured, reasons, remarks
from pixelwise.catalogue import architectures
from pixelwise.cli_advise import advise as advise_command
from pixelwise.errors import PixelwiseError
from pixelwise.listing import print_advice

MB = 10**6


def cost(seconds: float, memory: int = 400, **more: Any) -> dict[str, Any]:
    """Of a network that takes so long where the default model takes 0.1 s."""
    return {
        "arguments": {},
        "parameters": 3_000_000,
        "peak_memory": memory * MB,
        "seconds": seconds,
        "seconds_of_default": 0.1,
        **more,
    }


def training(name: str, dataset: str, value: float, **more: Any) -> dict[str, Any]:
    figure = {"value": value, "low": value - 0.01, "high": value + 0.01}
    row = {"dataset": dataset, "name": name, "seed": 0, "architecture": name, "pretrained": False, "mean_iou": figure}
    return row | {"after": None, "photos": {"train": 240 if dataset == "pets" else 367}} | more


TABLE = {
    "conditions": {"photo": [512, 512]},
    "costs": {
        "unet": cost(0.1),
        "big": cost(0.5, memory=1200, arguments={"batch_norm": True}),
        "fast": cost(0.02),
        "new": cost(0.3),
    },
    "trainings": [
        training("unet", "pets", 0.70, pretrained=True),
        training("unet", "camvid", 0.60, pretrained=True, thin=0.2, small=0.4),
        training("unet", "camvid", 0.62, pretrained=True, thin=0.3, small=0.4, seed=1),
        training("unet-random", "pets", 0.50, architecture="unet"),
        training("unet-random", "camvid", 0.40, architecture="unet", thin=0.1, small=0.1),
        training("big", "pets", 0.75),
        training("big", "camvid", 0.65, thin=0.15, small=0.5),
        training("fast", "pets", 0.90),
    ],
}


def order(case: Case, seconds: float | None = 0.1) -> list[str]:
    return [each.name for each in advise(case, seconds_of_default=seconds, table=TABLE) if not each.refused]


def test_the_best_on_what_they_share_comes_first_and_what_was_not_trained_last():
    assert order(Case()) == ["fast", "big", "unet", "unet-random", "new"]
    found = {each.name: each.behind for each in advise(Case(), seconds_of_default=0.1, table=TABLE)}
    assert found["fast"] == 0
    assert found["big"] == pytest.approx((0.15 + 0) / 2)
    assert found["unet"] == pytest.approx((0.20 + 0.04) / 2)


def test_training_on_the_easier_data_alone_is_no_merit():
    easy = training("easy", "pets", 0.72)  # more than the mean of `unet`, but less than `big` where both were trained
    table = {**TABLE, "costs": {**TABLE["costs"], "easy": cost(0.1)}, "trainings": [*TABLE["trainings"][:-1], easy]}
    found = [each.name for each in advise(Case(), seconds_of_default=0.1, table=table) if each.accuracy]
    assert found == ["big", "easy", "unet", "unet-random"]


def test_aims_rank_by_their_own_figure_where_it_was_measured():
    assert order(Case(aim="thin"))[:3] == ["unet", "big", "unet-random"]
    assert order(Case(aim="small"))[:3] == ["big", "unet", "unet-random"]
    found = {each.name: each for each in advise(Case(aim="thin"), seconds_of_default=0.1, table=TABLE)}
    assert found["unet"].accuracy == {"camvid": pytest.approx(0.25)}
    assert found["fast"].accuracy == {}
    assert found["fast"].behind is None


def test_an_interval_is_that_of_the_figure_beside_it():
    """Not that of the first of several trainings, nor of the mean IoU where something else is ranked by."""
    found = {each.name: each for each in advise(Case(), seconds_of_default=0.1, table=TABLE)}
    assert found["unet"].interval == {"pets": (0.69, 0.71)}
    assert found["big"].interval.keys() == found["big"].accuracy.keys()
    assert not any(each.interval for each in advise(Case(aim="thin"), seconds_of_default=0.1, table=TABLE))
    for each in advise(Case(aim="overall"), seconds_of_default=0.1):
        assert all(low < each.accuracy[dataset] < high for dataset, (low, high) in each.interval.items())


def test_limits_refuse_and_say_which():
    found = advise(Case(max_seconds=0.2, max_memory=500 * MB), seconds_of_default=0.1, table=TABLE)
    assert {each.name: each.refused for each in found if each.refused} == {
        "big": "memory",
        "new": "time",
    }
    assert found[0].name == "fast"
    assert [bool(each.refused) for each in found] == sorted(bool(each.refused) for each in found)


def test_what_found_nothing_of_what_is_wanted_is_not_recommended_for_being_fast():
    blind = training("fast", "camvid", 0.5, thin=0.001, small=0.2)
    table = {**TABLE, "trainings": [*TABLE["trainings"], blind]}
    found = {each.name: each.refused for each in advise(Case(aim="thin"), seconds_of_default=0.1, table=table)}
    assert found["fast"] == "finds none"
    assert found["unet"] == ""
    assert not any(each.refused for each in advise(Case(aim="small"), seconds_of_default=0.1, table=table))


def test_time_goes_with_this_machine_and_with_the_pixels():
    unet = {each.name: each for each in advise(Case(size=1024), seconds_of_default=0.05, table=TABLE)}["unet"]
    assert unet.seconds == pytest.approx(0.05 * 4)
    assert order(Case(max_seconds=0.2, size=1024), 0.2)[:1] == ["fast"]


def test_where_the_time_is_too_short_a_smaller_photo_keeps_to_it():
    case = Case(max_seconds=0.05)
    unet = next(each for each in advise(case, seconds_of_default=0.1, table=TABLE) if each.name == "unet")
    size = largest_size(unet, case)
    assert size == 352  # 512 / sqrt(2) is 362
    smaller = Case(max_seconds=0.05, size=size)
    assert not next(e for e in advise(smaller, seconds_of_default=0.1, table=TABLE) if e.name == "unet").refused
    assert largest_size(unet, Case()) is None


def test_below_half_the_side_what_sees_photos_largest_is_offered_not_the_best_nor_what_finds_none(
    capsys: pytest.CaptureFixture[str],
):
    best = training("big", "camvid", 0.65, thin=0.6, small=0.5)
    blind = training("fast", "camvid", 0.5, thin=0.001, small=0.2)
    table = {**TABLE, "trainings": [*(row for row in TABLE["trainings"] if row["name"] != "big"), best, blind]}
    for seconds, said in (
        (0.015, "unet, the nearest to it that was measured of those, keeps to it with --size 192."),
        (0.05, "unet, the best that was measured of those, keeps to it with --size 352."),
    ):
        case = Case(max_seconds=seconds, aim="thin")
        print_advice(case, advise(case, seconds_of_default=0.1, table=table), [])
        assert said in " ".join(capsys.readouterr().out.split())


def test_on_a_gpu_no_time_is_known_and_none_is_refused():
    found = advise(Case(max_seconds=1e-6, gpu=True), seconds_of_default=None, table=TABLE)
    assert not any(each.refused or each.seconds for each in found)
    assert "No time was measured on a GPU" in " ".join(remarks(Case(gpu=True), TABLE))


def test_without_pretrained_weights_the_same_network_from_random_ones_is_left():
    found = advise(Case(pretrained=False), seconds_of_default=0.1, table=TABLE)
    assert found[-1].refused == "weights"
    assert "unet-random" in order(Case(pretrained=False))


def test_reasons_give_the_figures_and_what_pretraining_bought():
    found = advise(Case(), seconds_of_default=0.1, table=TABLE)
    told = " / ".join(reasons(next(each for each in found if each.name == "unet"), found, Case()))
    for part in (
        "mean IoU 0.700 on Oxford-IIIT Pet's test photos",
        "mean IoU 0.610 on CamVid's test photos, the mean of 2 trainings",
        "from random ones it came to 0.500",
        "the command starts from pixelwise's own model, which shares the network: that was not measured here",
        "about 100 ms for a photo of 512 x 512",
        "400 MB",
    ):
        assert part in told, part


def test_how_far_the_figures_reach_is_said():
    assert remarks(Case(images=300), TABLE) == [
        "The accuracies come from short trainings on few photos (367 of CamVid, 240 of Oxford-IIIT Pet)."
    ]
    assert "You have 20, far fewer" in remarks(Case(images=20), TABLE)[1]
    assert "You have 20000, far more" in remarks(Case(images=20_000), TABLE)[1]
    assert len(remarks(Case(max_memory=1e9), TABLE)) == 1
    assert "Memory was measured at 512 pixels" in remarks(Case(max_memory=1e9, size=1024), TABLE)[1]


def test_the_command_builds_what_was_measured():
    found = {each.name: each for each in advise(Case(), seconds_of_default=0.1, table=TABLE)}
    assert command(found["unet"]) == "pixelwise train --data YOUR_FOLDER --model unet"
    assert command(found["big"]) == (
        "pixelwise train --data YOUR_FOLDER --model big --set model.arguments.batch_norm=true "
        "--set model.encoder_weights=null"
    )


def test_stages_are_told_from_one_go():
    staged = {"architecture": "big", "after": "fast"}
    more = [
        training("big-imagenet", "pets", 0.80, architecture="big", pretrained=True),
        training("big-staged", "pets", 0.60, **staged),
        training("big-staged-imagenet", "pets", 0.85, pretrained=True, **staged),
    ]
    table = {**TABLE, "trainings": [*TABLE["trainings"], *more]}
    found = {each.name: each for each in advise(Case(), seconds_of_default=0.1, table=table)}
    for name, random in (("big-imagenet", "0.750"), ("big-staged-imagenet", "0.600")):
        assert f"from random ones it came to {random}" in " ".join(reasons(found[name], [*found.values()], Case()))
    for name in ("big-staged", "big-staged-imagenet"):
        assert command(found[name]).endswith(" --set model.weights=runs/YOUR_FOLDER-fast/best.safetensors")
        assert "goes on from fast" in " ".join(reasons(found[name], [*found.values()], Case()))


@pytest.mark.parametrize(
    "case",
    [
        Case(images=0),
        Case(size=-1),
        Case(max_seconds=0),
        Case(max_memory=-5),
        Case(max_memory=math.inf),
        Case(max_memory=math.nan),
        Case(max_seconds=math.inf),
    ],
)
def test_nonsense_is_refused(case: Case):
    with pytest.raises(PixelwiseError, match="must be positive"):
        advise(case, seconds_of_default=0.1, table=TABLE)


def test_an_aim_that_is_none_is_refused():
    with pytest.raises(PixelwiseError, match="There is no aim 'quick'; there are: overall, thin, small"):
        advise(Case(aim="quick"), seconds_of_default=0.1, table=TABLE)


# The table inside the package.


def test_every_architecture_has_its_costs_and_they_are_those_of_the_catalogue():
    table = measured()
    facts = {each.name: each for each in architectures()}
    assert set(table["costs"]) == set(facts)
    for name, entry in table["costs"].items():
        if not entry["arguments"]:  # other arguments make another network
            measured_parameters, known = entry["parameters"], facts[name].parameters
            assert known <= measured_parameters <= 1.07 * known, name  # with the auxiliary head or without
            assert entry["multiply_adds"] == pytest.approx(facts[name].multiply_adds, rel=0.01), name
        assert 0.001 < entry["seconds"] < 60
        assert 50 * MB < entry["peak_memory"] < 8000 * MB


def test_every_training_in_the_documents_is_in_the_table_and_no_other():
    rows = {(row["dataset"], f"{row['name']}-{row['seed']}"): row for row in measured()["trainings"]}
    found = {path.parts[-3:-1]: path for path in (ROOT / "docs" / "reproduction").glob("*/*/metrics.json")}
    assert set(rows) == set(found)
    for key, path in found.items():
        metrics = json.loads(path.read_text(encoding="utf-8"))
        assert rows[key]["mean_iou"] == metrics["test"]["figures"]["mean_iou"]
        assert rows[key]["dataset"] in DATASETS
        assert all((path.parent / name).is_file() for name in ("recipe.yaml", "log.jsonl", "curves.png"))


@pytest.mark.parametrize("aim", AIMS)
def test_each_aim_can_be_asked_of_the_table(aim: str):
    found = advise(Case(aim=aim), seconds_of_default=0.1)
    assert {each.architecture for each in found} == set(measured()["costs"])


# The command, which times the default model.


def test_the_command_says_what_to_take_and_why(tmp_path: Path):
    out, err = pixelwise("advise", "--images", "300", "--save", "advice.json", cwd=tmp_path)
    assert err == ""
    assert out.startswith("Take ")
    assert "Start with: pixelwise train --data YOUR_FOLDER --model " in out
    saved = json.loads((tmp_path / "advice.json").read_text(encoding="utf-8"))
    assert saved["case"]["images"] == 300
    assert saved["candidates"][0]["seconds"] > 0
    assert f"Take {saved['candidates'][0]['name']} " in out
    _, err = pixelwise("advise", "--save", "advice.json", cwd=tmp_path, status=2)
    assert err == "pixelwise: advice.json exists already; choose another file.\n"


@pytest.mark.parametrize("load", [0.9, 1.1])
def test_that_the_machine_is_busy_is_said(load: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pixelwise.machine.load", lambda: load)
    monkeypatch.setattr("pixelwise.machine.cores", lambda: 2)
    done = CliRunner().invoke(advise_command, ["--save", str(tmp_path / "advice.json")])
    said = "busy for the last minute (load 1.1, 2 cores)"
    assert (said in done.output.replace("\n", " ")) == (load > 1)
    assert (said in (tmp_path / "advice.json").read_text()) == (load > 1)


def test_what_cannot_be_kept_is_said_with_the_nearest(tmp_path: Path):
    out, _ = pixelwise("advise", "--max-latency-ms", "0.01", cwd=tmp_path)
    assert "Nothing that was measured will do within these limits." in out
    assert "The fastest takes about " in out
    out, err = pixelwise("advise", "--images", "0", cwd=tmp_path, status=2)
    assert "--images" in err


def test_what_is_refused_for_more_than_its_time_is_not_offered_smaller(tmp_path: Path):
    out, _ = pixelwise("advise", "--no-pretrained", "--max-latency-ms", "100", "--size", "8192", cwd=tmp_path)
    (offered,) = re.findall("(.+), the nearest to it that was measured of those, keeps to it with --size", out)
    assert re.search(rf"{offered}\*.* time ", out)
    out, _ = pixelwise("advise", "--max-memory-mb", "1", "--max-latency-ms", "1000000", cwd=tmp_path)
    assert "Nothing that was measured will do within these limits." in out
    assert "The fastest" not in out
    assert "--size" not in out
    pixelwise("advise", "--device", "gpu", "--max-latency-ms", "50", "--max-memory-mb", "1", cwd=tmp_path)


@pytest.mark.parametrize("limit", ["--max-memory-mb", "--max-latency-ms"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("inf", "pixelwise: Numbers of images, sizes and limits must be positive, and not infinite.\n"),
        ("nan", "nan is not a number."),
    ],
)
def test_a_limit_that_is_no_number_is_refused(limit: str, value: str, said: str, tmp_path: Path):
    _, err = pixelwise("advise", limit, value, "--device", "gpu", "--save", "x.json", cwd=tmp_path, status=2)
    assert said in err
    assert not [*tmp_path.iterdir()]


def test_without_pretrained_weights_the_command_starts_from_random_ones(tmp_path: Path):
    out, _ = pixelwise("advise", "--no-pretrained", "--max-memory-mb", "200", cwd=tmp_path)
    (found,) = re.findall("Start with: pixelwise (.+)", out)
    assert "--model unet " in found  # for which pixelwise has weights of its own
    words = found.replace("YOUR_FOLDER", str(ROOT / "examples" / "nuclei")).split()
    recipe, _ = pixelwise(*words, "--dry-run", cwd=tmp_path)
    model = yaml.safe_load(recipe)["model"]
    assert (model["encoder_weights"], model["weights"], model["transfer"]) == (None, None, None)
