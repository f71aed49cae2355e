"""The page in a real browser, on a real server; its screenshots are kept in out/screenshots."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import DEFAULT_BUNDLE, PHOTOS, ROOT, pixelwise
from pixelwise.bundle import read_bundle, write_bundle
from server import serving

pytestmark = pytest.mark.browser
ASTRONAUT = PHOTOS / "astronaut.png"
SCREENSHOTS = ROOT / "out" / "screenshots"


RECORD = """async () => {
  const photo = await createImageBitmap(await (await fetch("static/chelsea.jpg")).blob());
  const canvas = Object.assign(document.createElement("canvas"), { width: photo.width, height: photo.height });
  const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: "video/webm" }), parts = [];
  recorder.ondataavailable = event => parts.push(event.data);
  recorder.start();
  for (let i = 0; i < 40; i++) {
    canvas.getContext("2d").drawImage(photo, 0, 0);
    canvas.getContext("2d").fillRect(10 * i, 20, 40, 40);
    await new Promise(done => setTimeout(done, 50));
  }
  await new Promise(done => { recorder.onstop = done; recorder.stop(); });
  const given = new DataTransfer();
  given.items.add(new File(parts, "cat.webm", { type: "video/webm" }));
  document.getElementById("file").files = given.files;
  document.getElementById("file").dispatchEvent(new Event("change"));
}"""


DROP = """async () => {
  const given = new DataTransfer();
  given.items.add(new File([await (await fetch("static/chelsea.jpg")).blob()], "cat.jpg", { type: "image/jpeg" }));
  document.getElementById("runs").dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true }));
}"""
HOLD_FRAME = """() => {
  const toBlob = HTMLCanvasElement.prototype.toBlob;
  window.held = new Promise(tell => {
    HTMLCanvasElement.prototype.toBlob = function (...given) {
      window.goOn = () => toBlob.apply(this, given);
      tell();
    };
  });
}"""
SLOW_CAMERA = """() => {
  const devices = navigator.mediaDevices, own = devices.getUserMedia.bind(devices);
  window.streams = [];
  devices.getUserMedia = async wanted => {
    await new Promise(done => setTimeout(done, 500));
    streams.push(await own(wanted));
    return streams.at(-1);
  };
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with the default model, and with the same one that sees photos smaller."""
    folder = tmp_path_factory.mktemp("models")
    own = read_bundle(DEFAULT_BUNDLE)
    config = replace(own.config, input_spec=replace(own.config.input_spec, long_side=96))
    write_bundle(folder / "coarse", config, graph=own.graph.read_bytes(), weights=own.weights.read_bytes())
    with serving("--model", "default", "--model", str(folder / "coarse")) as (_, found):
        yield found


@pytest.fixture
def page(browser, address: str) -> Iterator[object]:
    """The page, open and ready; afterwards: nothing went wrong in it, and it asked no other server."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    asked, wrong = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(address)
    opened.get_by_text("Waiting for a photo.").wait_for()
    yield opened
    opened.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def shown(page, kind: str) -> np.ndarray:
    """The pixels of a view, uint8 (H, W, 4)."""
    address = page.get_by_role("img", name=kind, exact=True).evaluate("canvas => canvas.toDataURL('image/png')")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGBA"))


def upload(page, file: Path) -> None:
    page.locator("#file").set_input_files(file)
    page.locator("#classes tbody tr").first.wait_for()


def slide(page, name: str, value: int) -> None:
    page.locator(f"#{name}").fill(str(value))


def test_a_photo_may_be_chosen_before_the_models_are_known(browser, address: str):
    opened = browser.new_page()
    opened.route("**/health/ready", lambda route: (opened.wait_for_timeout(500), route.continue_()))
    opened.goto(address)
    opened.locator("#file").set_input_files(ASTRONAUT)
    opened.locator("#classes tbody tr").first.wait_for()
    assert opened.locator("#status.error").count() == 0
    opened.close()


def test_an_example_gives_three_pictures_and_the_classes(page):
    page.locator("[data-example='chelsea.jpg']").click()
    page.locator("#classes tbody tr").first.wait_for()
    assert page.locator("#views figcaption").all_inner_texts() == ["photo", "mask", "overlay"]
    rows = [row.split() for row in page.locator("#classes tbody tr").all_inner_texts()]
    assert [row[0] for row in rows] == ["cat", "background"]
    assert 60 < float(rows[0][1]) < 90
    assert "451 × 300 pixels, default " in page.locator("#status").inner_text()
    mask = shown(page, "mask")
    assert (mask[..., :3] == (255, 215, 0)).all(axis=2).mean() == pytest.approx(float(rows[0][1]) / 100, abs=0.001)
    page.screenshot(path=SCREENSHOTS / "desktop.png", full_page=True)


@pytest.mark.parametrize("suffix", ["tiff", "webp"])
def test_a_photo_that_the_browser_reads_otherwise_is_shown_as_the_server_does(page, tmp_path: Path, suffix: str):
    """It reads no TIFF, and leaves a WebP lying that its EXIF turns."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(ASTRONAUT) as upright:
        lying = upright.convert("RGB").crop((0, 0, 512, 300))
        lying.transpose(Image.Transpose.ROTATE_90).save(tmp_path / f"photo.{suffix}", exif=exif)
    upload(page, tmp_path / f"photo.{suffix}")
    apart = shown(page, "photo")[..., :3].astype(int) - np.asarray(lying)
    assert np.abs(apart).mean() < 10
    with page.expect_download() as saved:
        page.locator("#save-json").click()
    assert '"photo"' not in Path(saved.value.path()).read_text()


def test_the_mask_that_is_saved_is_the_command_lines(page, tmp_path: Path):
    upload(page, ASTRONAUT)
    pixelwise("segment", ASTRONAUT, "--engine", "openvino", "--save", "mask", "--out", "out", cwd=tmp_path)
    with page.expect_download() as saved:
        page.locator("#save-mask").click()
    assert saved.value.suggested_filename == "astronaut_mask.png"
    assert Path(saved.value.path()).read_bytes() == (tmp_path / "out" / "astronaut_mask.png").read_bytes()
    for kind, name in (
        ("overlay", "astronaut_overlay.png"),
        ("panel", "astronaut_panel.png"),
        ("json", "astronaut.json"),
    ):
        with page.expect_download() as saved:
            page.locator(f"#save-{kind}").click()
        assert saved.value.suggested_filename == name
        data = Path(saved.value.path()).read_bytes()
        assert b'"person"' in data if kind == "json" else Image.open(io.BytesIO(data)).size[1] == 512


def test_the_mask_that_is_saved_is_the_one_that_is_shown(page):
    """Not that of switches that were set since, whose answer is on its way."""
    upload(page, ASTRONAUT)
    page.route("**/v1/segment?*size=256*", lambda route: None)
    with page.expect_request("**/v1/segment?*size=256*"):
        page.locator("#size").select_option("256")
    with page.expect_request("**/v1/segment?*mask=none*") as asked, page.expect_download():
        page.locator("#save-mask").click()
    assert "size=auto" in asked.value.url


def test_what_cannot_be_saved_is_said(page):
    upload(page, ASTRONAUT)
    page.route("**/v1/segment?*mask=none*", lambda route: route.fulfill(status=404, json={"detail": "It is gone."}))
    page.locator("#save-mask").click()
    page.get_by_text("astronaut_mask.png cannot be saved: It is gone.").wait_for()
    assert page.locator("#status.error").count() == 1


@pytest.mark.parametrize("chooser", ["#file", "#shoot input"])
def test_the_same_file_may_be_chosen_again(page, chooser: str):
    """A browser tells of no change where a file is chosen that is still there."""
    page.locator(chooser).set_input_files(ASTRONAUT)
    page.locator("#classes tbody tr").first.wait_for()
    assert page.locator(chooser).input_value() == ""


def test_sliders_and_switches_work_on_what_is_there(page):
    upload(page, ASTRONAUT)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    photo, full = shown(page, "photo"), shown(page, "mask")
    slide(page, "opacity", 0)
    np.testing.assert_array_equal(shown(page, "overlay"), photo)
    slide(page, "opacity", 100)
    background = (full[..., :3] == 0).all(axis=2, keepdims=True)
    full = np.where(background, photo, full)
    np.testing.assert_array_equal(shown(page, "overlay"), full)  # the background is left as it is, as elsewhere
    slide(page, "split", 50)
    half = shown(page, "overlay")
    np.testing.assert_array_equal(half[:, :256], photo[:, :256])
    np.testing.assert_array_equal(half[:, 256:], full[:, 256:])
    page.get_by_label("show person").uncheck()
    slide(page, "split", 0)
    assert (full != photo).any()
    np.testing.assert_array_equal(shown(page, "overlay"), photo)
    assert (shown(page, "mask")[..., :3] == 0).all()
    assert asked == []


def test_hovering_tells_class_and_confidence(page):
    upload(page, ASTRONAUT)
    page.get_by_role("img", name="overlay", exact=True).hover(position={"x": 150, "y": 120})
    tip = page.locator("#tip").inner_text()
    assert tip.startswith("person, ")
    assert tip.endswith(" % sure")


def test_what_was_told_of_a_pixel_does_not_stay(browser, address: str):
    """On a phone nothing leaves a picture that was tapped; and another photo's pixels are others."""
    phone = browser.new_page(viewport={"width": 390, "height": 800}, has_touch=True)
    phone.goto(address)
    phone.get_by_text("Waiting for a photo.").wait_for()
    upload(phone, ASTRONAUT)
    overlay = phone.get_by_role("img", name="overlay", exact=True)
    overlay.tap()
    assert phone.locator("#tip").is_visible()
    phone.locator("#classes th").first.tap()
    assert not phone.locator("#tip").is_visible()
    overlay.tap()
    assert phone.locator("#tip").is_visible()
    phone.locator("#file").set_input_files(PHOTOS / "chelsea.png")
    phone.get_by_text("451 × 300 pixels").wait_for()
    assert not phone.locator("#tip").is_visible()
    phone.close()


def test_two_models_stand_side_by_side_with_their_difference(page):
    upload(page, ASTRONAUT)
    page.get_by_label("coarse").check()
    page.get_by_text("coarse differs from default on").wait_for()
    captions = page.locator("#views figcaption").all_inner_texts()
    assert captions[:5] == ["photo", "default: mask", "default: overlay", "coarse: mask", "coarse: overlay"]
    share = float(captions[5].split("on ")[1].split(" %")[0]) / 100
    apart = (shown(page, "default: mask") != shown(page, "coarse: mask")).any(axis=2).mean()
    assert 0 < share < 0.5
    assert share == pytest.approx(apart, abs=0.001)
    assert "default " in page.locator("#status").inner_text()
    page.screenshot(path=SCREENSHOTS / "compared.png", full_page=True)


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_comes_late_does_not_replace_a_newer_one(page, status: int):
    """Of another size for the same photo, while the network was slow; nor does its error."""
    upload(page, ASTRONAUT)
    before = shown(page, "mask")
    held: list[object] = []
    page.route("**/v1/segment?*size=256*", lambda route: held.append(route))
    with page.expect_request("**/v1/segment?*size=256*"):
        page.locator("#size").select_option("256")
    page.locator("#size").select_option("auto")
    page.get_by_text("512 × 512 pixels, default ").wait_for()
    route = held.pop()
    answer = route.fetch()
    with page.expect_response("**/v1/segment?*size=256*"):
        route.fulfill(response=answer, status=status)
    page.wait_for_timeout(500)
    np.testing.assert_array_equal(shown(page, "mask"), before)
    assert page.locator("#status.error").count() == 0


def test_a_camera_is_segmented_live_until_it_is_stopped(page):
    page.locator("#camera").click()
    page.get_by_text("photos a second").wait_for()
    first = shown(page, "photo")
    page.locator("#size").select_option("256")  # for the pictures to come, it goes on
    page.wait_for_timeout(2000)
    assert (shown(page, "photo") != first).any()
    page.get_by_role("button", name="Stop the camera").click()
    page.get_by_role("button", name="Camera, live").wait_for()


def test_a_video_is_segmented_as_it_plays_until_it_ends(page, tmp_path: Path):
    """Of a square that moves over the photo of a cat; recorded by the browser, as nothing else here can."""
    page.evaluate(RECORD)
    page.get_by_text("photos a second").wait_for(timeout=60_000)
    first = shown(page, "photo")
    assert first.shape[:2] == (300, 451)
    page.get_by_role("button", name="Camera, live").wait_for(timeout=60_000)
    assert (shown(page, "photo") != first).any()
    names = [row.split()[0] for row in page.locator("#classes tbody tr").all_inner_texts()]
    assert "cat" in names
    with page.expect_download() as saved:
        page.locator("#save-overlay").click()
    assert re.fullmatch(r"cat-\d+\.\d\ds_overlay\.png", saved.value.suggested_filename)


def test_a_photo_that_is_chosen_while_a_frame_is_made_ready_stays(page):
    page.evaluate(HOLD_FRAME)
    page.locator("#camera").click()
    page.evaluate("held")
    upload(page, ASTRONAUT)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("goOn()")
    page.wait_for_timeout(500)
    assert asked == []
    assert page.locator("#status").inner_text().startswith("512 × 512 pixels")


def test_two_clicks_open_one_camera(page):
    """While the browser asks whether it may; here it waits for half a second."""
    page.evaluate(SLOW_CAMERA)
    for _ in range(2):
        page.locator("#camera").click()
    page.get_by_text("photos a second").wait_for()
    page.get_by_role("button", name="Stop the camera").click()
    page.wait_for_timeout(500)
    assert page.evaluate("streams.flatMap(each => each.getTracks()).map(track => track.readyState)") == ["ended"]


def test_a_film_that_cannot_be_played_is_said(page, tmp_path: Path):
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    page.locator("#file").set_input_files(tmp_path / "broken.mp4")
    page.locator("#status.error").wait_for()
    assert "The browser cannot play it" in page.locator("#status").inner_text()
    upload(page, ASTRONAUT)


def test_confidence_is_a_picture_of_its_own(page):
    upload(page, ASTRONAUT)
    page.get_by_label("show confidence").check()
    sure = shown(page, "confidence, black 0 to white 100 %")
    rows = [re.findall(r"([\d.]+) %", row) for row in page.locator("#classes tbody tr").all_inner_texts()]
    whole = sum(float(share) / 100 * float(mean) / 100 for share, mean in rows)
    assert sure[..., 0].mean() / 255 == pytest.approx(whole, abs=0.01)


@pytest.mark.slow
def test_a_token_is_asked_for_and_used(browser):
    with serving(environment={"PIXELWISE_TOKEN": "secret"}) as (_, guarded):
        opened = browser.new_page()
        opened.goto(guarded)
        opened.get_by_text("Give the token").wait_for()
        for token, told in (("wrong", "Give the token"), ("secret", "Waiting for a photo.")):
            opened.locator("#token").fill(token)
            with opened.expect_response("**/v1/models"):  # or the next token would be filled in before this one is read
                opened.get_by_role("button", name="Enter").click()
            opened.get_by_text(told).wait_for()
        upload(opened, ASTRONAUT)
        assert not opened.locator("#entry").is_visible()
        opened.close()


def test_a_token_that_is_asked_for_later_can_be_given(page):
    """By a server that was started anew."""
    upload(page, ASTRONAUT)
    models = page.locator("#more option").count()

    def guarded(route) -> None:
        known = route.request.headers.get("authorization") == "Bearer secret"
        route.continue_() if known else route.fulfill(status=401, json={"detail": "Give the token."})

    page.route("**/v1/**", guarded)
    page.locator("#size").select_option("256")
    page.get_by_text("Give the token.").wait_for()
    page.locator("#token").fill("secret")
    page.get_by_role("button", name="Enter").click()
    page.get_by_text("512 × 512 pixels, default ").wait_for()
    assert not page.locator("#entry").is_visible()
    assert page.locator("#more option").count() == models


def test_what_is_no_photo_is_said_and_the_page_goes_on(page, tmp_path: Path):
    (tmp_path / "note.jpg").write_text("no picture")
    page.locator("#file").set_input_files(tmp_path / "note.jpg")
    page.locator("#status.error").wait_for()
    assert "The photo" in page.locator("#status").inner_text()
    upload(page, ASTRONAUT)
    assert page.locator("#status.error").count() == 0


def test_a_server_that_does_not_answer_is_said_and_the_page_goes_on(page):
    for pattern, start in (
        ("**/v1/segment*", lambda: page.locator("#file").set_input_files(ASTRONAUT)),
        ("**/static/*.jpg", lambda: page.locator("[data-example='coffee.jpg']").click()),
        ("**/v1/runs", lambda: page.evaluate("location.hash = '#runs'")),
    ):
        page.route(pattern, lambda route: route.abort("connectionrefused"))
        start()
        page.get_by_text("The server does not answer; see whether it still runs.").and_(
            page.locator(".error")
        ).wait_for()
        page.unroute(pattern)
        page.evaluate("say('')")
    page.locator("#told:not(.error)").wait_for(state="attached")
    page.evaluate("location.hash = '#photo'")
    upload(page, ASTRONAUT)


def test_what_is_in_front_of_the_server_may_answer_in_its_place(page):
    page.route("**/v1/segment*", lambda route: route.fulfill(status=502, content_type="text/html", body="<html>"))
    page.locator("#file").set_input_files(ASTRONAUT)
    page.get_by_text("The answer is 502 Bad Gateway.").wait_for()


def test_a_photo_that_was_changed_since_it_was_chosen_is_said(page, tmp_path: Path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(ASTRONAUT.read_bytes())
    upload(page, photo)
    photo.write_bytes(b"another")
    page.locator("#size").select_option("256")
    page.get_by_text("The file cannot be read; choose it again.").wait_for()


def test_a_photo_that_is_dropped_beside_the_runs_is_shown(page):
    page.evaluate("location.hash = '#runs'")
    page.locator("#runs").wait_for()
    page.evaluate(DROP)
    page.get_by_role("img", name="overlay", exact=True).wait_for()


def test_an_address_that_says_nothing_is_that_of_the_photo(page, address: str):
    for place in ("#run=%", "#report=%ff", "#nothing"):
        page.goto(f"{address}/{place}")
        page.reload()
        page.get_by_text("Waiting for a photo.").wait_for()
        page.locator("#photo").wait_for()
    upload(page, ASTRONAUT)


@pytest.mark.parametrize(("field", "frame"), [("#file", "#drop"), ("#shoot input", "#shoot")])
def test_what_has_the_focus_is_seen(page, field: str, frame: str):
    """The fields that take files are invisible themselves, and so is their focus."""
    style = "found => { const { borderColor, outline } = getComputedStyle(found); return borderColor + outline; }"
    before = page.locator(frame).evaluate(style)
    page.locator(field).focus()
    assert page.locator(frame).evaluate(style) != before


def test_a_phone_shows_all_of_it_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 390, "height": 800})
    upload(page, ASTRONAUT)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=SCREENSHOTS / "phone.png", full_page=True)


def test_the_page_is_part_of_the_package_and_names_no_other_server():
    static = ROOT / "src" / "pixelwise" / "serve" / "static"
    for name in ("page.html", "page.js", "runs.js"):
        assert "://" not in (static / name).read_text(encoding="utf-8")
