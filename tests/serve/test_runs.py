"""Runs and reports in the page and over HTTP: a real training, a real server, a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from helpers import DEFAULT_BUNDLE, ENVIRONMENT, PHOTOS, ROOT, pixelwise
from pixelwise.bundle import read_bundle, write_bundle
from pixelwise.pages import document
from pixelwise.serve.runs import Runs
from server import serving
from small_runs import RECIPE, small_dataset

SCREENSHOTS = ROOT / "out" / "screenshots"
SCRIPT = "<p id='told'>asleep</p><script>document.getElementById('told').textContent = 'awake'</script>"


def training(workplace: Path, *options: str) -> list[str]:
    """The command that trains there."""
    words = ["train", str(workplace / "recipe.yaml"), "--data-root", str(workplace), *options]
    return [sys.executable, "-m", "pixelwise", *words]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a dataset, and in `runs` a finished run, in a folder of its own, and a report."""
    folder = tmp_path_factory.mktemp("workplace")
    small_dataset(folder, RECIPE)
    subprocess.run(training(folder, "--run", str(folder / "runs" / "deep" / "small")), check=True, env=ENVIRONMENT)
    (folder / "runs" / "compare.html").write_text(document("A & B <compared>", [SCRIPT]))
    return folder


@pytest.fixture(scope="module")
def server(workplace: Path) -> Iterator[str]:
    with serving("--runs", str(workplace / "runs")) as (_, address):
        yield address


@pytest.fixture
def page(browser) -> Iterator[object]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    opened.close()
    assert wrong == []


def test_what_there_is_is_listed(server: str, workplace: Path):
    told = httpx.get(f"{server}/v1/runs").json()
    (run,) = told["runs"]
    assert (run["name"], run["state"], run["step"], run["steps"]) == ("deep/small", "finished", 6, 6)
    assert 0 <= run["val_miou"] <= 1
    assert [report["path"] for report in told["reports"]][:1] == ["compare.html"]
    assert {report["title"] for report in told["reports"]} == {"A & B <compared>", "small"}
    found = httpx.get(f"{server}/v1/run", params={"name": "deep/small"}).json()
    assert found["architecture"] == "unet2015"
    assert [entry["step"] for entry in found["entries"] if "val_miou" in entry] == [2, 4, 6]
    assert [picture["step"] for picture in found["pictures"]] == [2, 4, 6]
    for address in (found["report"], *(picture["address"] for picture in found["pictures"])):
        answer = httpx.get(f"{server}/{address}")
        assert answer.status_code == 200
        assert answer.content == (workplace / "runs" / address.removeprefix("files/")).read_bytes()
    assert "sandbox" in httpx.get(f"{server}/{found['report']}").headers["content-security-policy"]


def test_a_picture_that_someone_else_put_there_is_passed_over(server: str, workplace: Path):
    pictures = workplace / "runs" / "deep" / "small" / "validation"
    copy = pictures / "step-00000002 (copy).jpg"
    copy.write_bytes((pictures / "step-00000002.jpg").read_bytes())
    try:
        answer = httpx.get(f"{server}/v1/run", params={"name": "deep/small"})
    finally:
        copy.unlink()
    assert answer.status_code == 200
    assert [picture["step"] for picture in answer.json()["pictures"]] == [2, 4, 6]


def test_nothing_else_of_the_machine_is_shown(server: str, workplace: Path):
    runs = workplace / "runs"
    (workplace / "secret.html").write_text("secret")
    (runs / ".hidden.html").write_text("hidden")
    (runs / "link.html").symlink_to(workplace / "secret.html")
    for path in ("../secret.html", "%2e%2e/secret.html", "link.html", ".hidden.html", "deep/small/recipe.yaml", "deep"):
        assert httpx.get(f"{server}/files/{path}").status_code == 404, path
    assert httpx.get(f"{server}/files//etc/passwd").status_code == 404
    assert httpx.get(f"{server}/files/{'x' * 5000}").status_code == 404
    for name in ("..", "../voc", "/etc", "absent", "", "\0"):
        assert httpx.get(f"{server}/v1/run", params={"name": name}).status_code == 404
    told = httpx.get(f"{server}/v1/runs").json()
    assert "hidden" not in str(told)
    (runs / "link.html").unlink()


def test_a_run_directory_itself_may_be_given(workplace: Path):
    runs = Runs(workplace / "runs" / "deep" / "small")
    assert [run["name"] for run in runs.runs()] == ["."]
    found = runs.run(".")
    assert found is not None
    assert found["report"] == "report.html"


def test_a_run_that_was_ended_or_is_damaged_is_told_of(workplace: Path, tmp_path: Path):
    for name in ("stopped", "empty", "broken"):
        (tmp_path / name).mkdir()
    shutil.copy(workplace / "recipe.yaml", tmp_path / "stopped")
    (tmp_path / "stopped" / "log.jsonl").write_text('{"step": 10, "loss": 1.5}\n{"step": 20, "lo')
    (tmp_path / "empty" / "recipe.yaml").write_text("")
    (tmp_path / "broken" / "recipe.yaml").write_bytes(b"\xff{[")
    (tmp_path / "broken" / "log.jsonl").write_bytes(b"\xff")
    told = {each["name"]: (each["state"], each["step"], each["steps"]) for each in Runs(tmp_path).runs()}
    assert told == {"stopped": ("stopped", 10, 6), "empty": ("stopped", 0, None), "broken": ("stopped", 0, None)}
    assert Runs(tmp_path / "absent").runs() == []


@pytest.mark.parametrize(
    ("recipe", "log"),
    [
        ("model: unet", '{"step": 1}'),
        ("steps: [1]", '{"step": 1}'),
        ("steps: 1", '{"epoch": 1}'),
        ("steps: 1", '{"step": "one"}'),
        ("steps: 1", "5"),
        ("steps: 1", '{"step": 1, "val_miou": NaN}'),
        ("steps: 1", '{"step": 1, "photos": ["a.jpg"]}'),
    ],
)
def test_a_folder_of_another_program_hides_nothing_else(workplace: Path, tmp_path: Path, recipe: str, log: str):
    """Its files may have the names that a run's have."""
    shutil.copytree(workplace / "runs" / "deep" / "small", tmp_path / "small")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "recipe.yaml").write_text(recipe)
    (tmp_path / "foreign" / "log.jsonl").write_text(f"{log}\n")
    found = Runs(tmp_path)
    assert [run["name"] for run in found.runs()] == ["small"]
    assert found.run("foreign") is None
    assert found.run("small") is not None


def test_links_that_lead_nowhere_or_elsewhere_hide_nothing_else(workplace: Path, tmp_path: Path):
    shown = tmp_path / "shown"
    (shown / "lost").mkdir(parents=True)
    shutil.copytree(workplace / "runs" / "deep" / "small", shown / "small")
    (tmp_path / "elsewhere.html").write_text("<title>secret</title>")
    (shown / "elsewhere.html").symlink_to(tmp_path / "elsewhere.html")
    (shown / "removed.html").symlink_to(tmp_path / "removed.html")
    (shown / "lost" / "recipe.yaml").symlink_to(tmp_path / "recipe.yaml")
    found = Runs(shown)
    assert [run["name"] for run in found.runs()] == ["small"]
    assert [report["path"] for report in found.reports()] == ["small/report.html"]
    assert list(found.models()) == ["small"]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes UTF-8 only")
def test_names_that_are_no_utf8_hide_nothing_else(workplace: Path, tmp_path: Path):
    """They cannot stand in an address; nor does the directory's own name have to be one."""
    shown = tmp_path / os.fsdecode(b"runs\xff")
    shown.mkdir()
    for name in ("good", os.fsdecode(b"q\xff")):
        shutil.copytree(workplace / "runs" / "deep" / "small", shown / name)
        (shown / f"{name}.html").write_text(document(name[0], []))
    with serving("--runs", str(shown)) as (_, address):
        told = httpx.get(f"{address}/v1/runs").json()
        assert [run["name"] for run in told["runs"]] == ["good"]
        assert {report["path"] for report in told["reports"]} == {"good.html", "good/report.html"}
        assert told["directory"] == "runs?"
        assert "good" in httpx.get(f"{address}/v1/models").json()["others"]


def test_a_finished_runs_model_is_loaded_when_it_is_asked_for(server: str):
    photo = (PHOTOS / "chelsea.png").read_bytes()
    told = httpx.get(f"{server}/v1/models").json()
    assert [model["name"] for model in told["models"]] == ["default"]
    assert "deep/small" in told["others"]
    answer = httpx.post(f"{server}/v1/segment", params={"model": "deep/small"}, files={"image": photo}, timeout=60)
    assert answer.json()["model"] == "deep/small"
    told = httpx.get(f"{server}/v1/models").json()
    assert [model["name"] for model in told["models"]] == ["default", "deep/small"]
    assert "deep/small" not in told["others"]


def test_of_models_that_were_asked_for_the_last_three_stay(tmp_path: Path):
    photo = (PHOTOS / "chelsea.png").read_bytes()
    for name in ("a", "b", "c", "d", "damaged"):
        shutil.copytree(DEFAULT_BUNDLE, tmp_path / name / "model")
        (tmp_path / name / "recipe.yaml").write_text("steps: 1")
    graph = next((tmp_path / "damaged" / "model").glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:1000])
    with serving("--runs", str(tmp_path)) as (_, address):

        def status(name: str) -> int:
            ask = httpx.post(f"{address}/v1/segment", params={"model": name}, files={"image": photo}, timeout=60)
            return ask.status_code

        assert [status(name) for name in ("a", "b", "a", "c", "d")] == [200] * 5
        loaded = [model["name"] for model in httpx.get(f"{address}/v1/models").json()["models"]]
        assert loaded == ["default", "a", "c", "d"]
        for _ in range(2):  # it is tried again, and the service goes on
            answer = httpx.post(
                f"{address}/v1/segment", params={"model": "damaged"}, files={"image": photo}, timeout=60
            )
            assert answer.status_code == 500
            assert answer.json()["detail"].startswith("damaged cannot be loaded: ")
        assert status("b") == 200


def test_a_run_that_was_trained_anew_is_asked_with_its_new_model(tmp_path: Path):
    photo, own = (PHOTOS / "chelsea.png").read_bytes(), read_bundle(DEFAULT_BUNDLE)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("steps: 1")
    with serving("--runs", str(tmp_path)) as (_, address):

        def found() -> set[str]:
            """Classes in the photo, as the run's model is asked for the first time, and again."""
            ask = {"params": {"model": "run"}, "files": {"image": photo}, "timeout": 60}
            once, again = (httpx.post(f"{address}/v1/segment", **ask).json()["classes"] for _ in range(2))
            assert once == again
            return {each["name"] for each in once}

        for name in ("cat", "tabby"):
            names = tuple(name if each == "cat" else each for each in own.config.classes.names)
            config = replace(own.config, classes=replace(own.config.classes, names=names))
            files = {"graph": own.graph.read_bytes(), "weights": own.weights.read_bytes()}
            write_bundle(tmp_path / "run" / "model", config, **files, force=True)
            assert found() == {name, "background"}
        shutil.rmtree(tmp_path / "run")
        assert found() == {"tabby", "background"}


def test_with_a_token_pages_and_pictures_have_addresses_of_their_own(workplace: Path):
    options = {"environment": {"PIXELWISE_TOKEN": "secret"}}
    with serving("--runs", str(workplace / "runs"), **options) as (_, address):
        assert httpx.get(f"{address}/v1/runs").status_code == 401
        bearer = {"Authorization": "Bearer secret"}
        reports = httpx.get(f"{address}/v1/runs", headers=bearer).json()["reports"]
        first, second = (report["address"] for report in reports)
        assert httpx.get(f"{address}/{first}").status_code == 200
        assert httpx.get(f"{address}/{first.partition('?')[0]}").status_code == 401
        assert httpx.get(f"{address}/{first.partition('?')[0]}?{second.partition('?')[2]}").status_code == 401


def test_others_are_shown_nothing_that_was_not_given(workplace: Path):
    """Listening for all and without a token, neither `runs` nor further models are there."""
    with serving("--host", "0.0.0.0", cwd=workplace) as (_, address):
        assert httpx.get(f"{address}/v1/runs").json() == {"directory": None, "runs": [], "reports": []}
        assert httpx.get(f"{address}/v1/models").json()["others"] == []
    with serving(cwd=workplace) as (_, address):
        assert len(httpx.get(f"{address}/v1/runs").json()["runs"]) == 1


def test_a_directory_that_is_not_there_is_one_sentence(tmp_path: Path):
    _, err = pixelwise("serve", "--runs", "absent", cwd=tmp_path, status=2)
    assert err == "pixelwise: There is no directory absent to show runs of.\n"


@pytest.mark.browser
def test_a_report_is_opened_in_the_page_and_can_do_nothing_there(page, server: str):
    page.goto(server)
    page.get_by_role("link", name="Runs and reports").click()
    page.get_by_role("link", name="A & B <compared>").click()
    page.frame_locator("#frame").get_by_text("awake").wait_for()
    frame = page.frame(url="**/compare.html*")
    assert frame.evaluate("origin") == "null"
    assert not frame.evaluate(f"fetch('{server}/health/live').then(() => true, () => false)")
    page.get_by_role("link", name="all runs and reports").click()
    page.get_by_role("link", name="deep/small").click()
    page.get_by_role("link", name="report", exact=True).click()
    # Attached rather than visible: Chromium puts off the layout of frames of another origin when it has much to do.
    page.frame_locator("#frame").get_by_text("How it went").wait_for(state="attached")
    assert page.locator("#frame").is_visible()
    page.screenshot(path=SCREENSHOTS / "report.png", full_page=True)


@pytest.mark.browser
def test_a_screen_reader_is_told_which_tab_is_open(page, server: str):
    page.goto(f"{server}/#runs")
    current = page.locator("nav a[aria-current='page']")
    page.get_by_role("link", name="Runs and reports").wait_for()
    assert current.all_inner_texts() == ["Runs and reports"]
    page.get_by_role("link", name="Photo").click()
    page.locator("#photo").wait_for()
    assert current.all_inner_texts() == ["Photo"]
    assert page.locator("nav a[aria-current]").count() == 1


@pytest.mark.browser
def test_runs_that_cannot_be_listed_are_said_where_they_would_be(page, server: str):
    told = {"detail": "Something went wrong."}
    page.route("**/v1/runs", lambda route: route.fulfill(status=500, json=told))
    page.goto(server)
    page.get_by_role("link", name="Runs and reports").click()
    page.get_by_text("Something went wrong.").wait_for()


@pytest.mark.browser
def test_a_script_that_arrives_late_misses_nothing(page, server: str):
    """As over a slow line: the server has long answered the first script when the second one is there."""
    held: list[object] = []
    page.route("**/static/runs.js", lambda route: held.append(route))
    with page.expect_request("**/static/runs.js"):
        page.goto(server, wait_until="commit")
    page.wait_for_timeout(1000)
    held.pop().continue_()
    page.get_by_role("link", name="Runs and reports").wait_for()


@pytest.mark.browser
def test_a_runs_model_segments_from_its_page(page, server: str):
    page.goto(f"{server}/#run=deep/small")
    page.get_by_role("button", name="segment with its model").click()
    page.locator("#file").set_input_files(PHOTOS / "chelsea.png")
    page.get_by_text("451 × 300 pixels, deep/small ").wait_for()
    assert page.locator("#status.error").count() == 0


@pytest.mark.browser
def test_a_run_is_shown_once_it_is_known(page, server: str):
    """Not before: its button would segment with no model, or with that of the run that was looked at last."""
    held: list[object] = []
    page.route(re.compile(r"/v1/run\?"), lambda route: held.append(route))
    with page.expect_request(re.compile(r"/v1/run\?")):
        page.goto(f"{server}/#run=deep/small")
    assert page.locator("#photo").is_hidden()
    assert not page.locator("#run").is_visible()
    held.pop().continue_()
    page.get_by_role("button", name="segment with its model").wait_for()
    page.unroute_all(behavior="ignoreErrors")
    page.goto(f"{server}/#run=absent")
    page.get_by_text("There is no run").wait_for()
    assert not page.locator("#run").is_visible()


@pytest.mark.browser
def test_a_run_whose_recipe_is_damaged_is_shown(page, workplace: Path, tmp_path: Path):
    """It does not say of how many steps, nor of which architecture."""
    shutil.copytree(workplace / "runs" / "deep" / "small", tmp_path / "damaged")
    (tmp_path / "damaged" / "recipe.yaml").write_text("")
    with serving("--runs", str(tmp_path)) as (_, address):
        page.goto(f"{address}/#run=damaged")
        page.get_by_text("finished, step 6; best mean IoU").wait_for()
        assert page.locator("#told").inner_text() == ""
        assert page.locator("#curves path.train").first.get_attribute("d").startswith("M")


@pytest.mark.browser
@pytest.mark.slow
def test_a_training_is_watched_as_it_goes_on(page, server: str, workplace: Path):
    """A real one beside it: the page shows its steps, its curves and its newest picture without being asked again."""
    run = workplace / "runs" / "live"
    longer = ("--set", "steps=4000", "--set", "validate_every=10", "--run", str(run))
    process = subprocess.Popen(training(workplace, *longer), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        page.goto(f"{server}/#runs")
        page.get_by_role("link", name="live").click(timeout=60_000)
        page.get_by_text("unet2015, training, step ").wait_for(timeout=60_000)
        page.locator("#picture-at", has_text="0 steps").wait_for(timeout=60_000)
        early = page.locator("#picture").get_attribute("src")
        page.get_by_text(" of training left").wait_for(timeout=60_000)
        page.wait_for_function("address => document.getElementById('picture').src.indexOf(address) < 0", arg=early)
        assert page.locator("#curves path.val").nth(2).get_attribute("d").count("L") >= 1
        page.screenshot(path=SCREENSHOTS / "run.png", full_page=True)
        process.terminate()
        process.wait(60)
        page.get_by_text("unet2015, stopped, step ").wait_for(timeout=60_000)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(run)
