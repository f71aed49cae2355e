from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import digests, pixelwise
from pixelwise.data import open_dataset, recognise, splits
from pixelwise.errors import DataError
from pixelwise.fetch import ARCHIVES, Archive, fetch

Report = list[tuple[str, int, int]]


@dataclass
class Server:
    """Files on a real server that understands ranges, unless told not to, and may break off."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    breaks_after: list[int] = field(default_factory=list)
    ranges: bool = True

    def archive(self, name: str, members: dict[str, bytes], folder: str) -> Archive:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for path, content in members.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        self.files[name] = buffer.getvalue()
        return Archive(f"{self.url}/{name}", hashlib.md5(buffer.getvalue()).hexdigest(), folder)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, wanted = self.path.rpartition("/")[2], self.headers.get("Range")
            state.asked.append((name, wanted))
            content = state.files.get(name)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.ranges else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            limit = state.breaks_after.pop(0) if state.breaks_after else len(content)
            self.wfile.write(content[start : start + limit])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield state
        running.shutdown()
        thread.join()


def picture(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


PHOTO = picture(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8), "JPEG")


@pytest.fixture
def pets(server: Server) -> dict[str, tuple[Archive, ...]]:
    """Two photos in the official layout, in the two official archives."""
    trimap = picture(np.full((40, 60), 2, dtype=np.uint8))
    names = ("Bengal_1", "Bengal_2")
    annotations = {
        "annotations/trainval.txt": b"Bengal_1 6 1 1\nBengal_2 6 1 1\n",
        "annotations/test.txt": b"Bengal_1 6 1 1\n",
    } | {f"annotations/trimaps/{name}.png": trimap for name in names}
    return {
        "oxford-pets": (
            server.archive("images.tar.gz", {f"images/{name}.jpg": PHOTO for name in names}, "images"),
            server.archive("annotations.tar.gz", annotations, "annotations"),
        )
    }


def test_a_fetched_dataset_is_read(server: Server, pets: dict[str, tuple[Archive, ...]], tmp_path: Path):
    seen: Report = []
    fetch("oxford-pets", tmp_path / "new" / "pets", archives=pets, report=lambda *told: seen.append(told))
    root = tmp_path / "new" / "pets"
    assert recognise(root) == "oxford_pets"
    assert len(open_dataset("oxford_pets", root, "trainval")) == 2
    size = len(server.files["images.tar.gz"])
    assert [told for told in seen if told[0] == "images.tar.gz"][-1] == ("images.tar.gz", size, size)
    assert sorted(p.name for p in root.iterdir()) == ["annotations", "annotations.tar.gz", "images", "images.tar.gz"]


def test_what_is_there_is_not_fetched_again(server: Server, pets: dict[str, tuple[Archive, ...]], tmp_path: Path):
    fetch("oxford-pets", tmp_path, archives=pets)
    assert len(server.asked) == 2
    before = digests(tmp_path)
    fetch("oxford-pets", tmp_path, archives=pets)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    (tmp_path / "images").rmdir()
    fetch("oxford-pets", tmp_path, archives=pets)  # from the archive that is still there
    assert len(server.asked) == 2
    assert digests(tmp_path) == before


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    server: Server, pets: dict[str, tuple[Archive, ...]], tmp_path: Path
):
    server.breaks_after = [1000, 700]
    fetch("oxford-pets", tmp_path, archives=pets)
    assert server.asked[:3] == [
        ("images.tar.gz", None),
        ("images.tar.gz", "bytes=1000-"),
        ("images.tar.gz", "bytes=1700-"),
    ]
    assert (tmp_path / "images.tar.gz").read_bytes() == server.files["images.tar.gz"]


def test_a_later_run_goes_on_where_an_earlier_one_was_stopped(
    server: Server, pets: dict[str, tuple[Archive, ...]], tmp_path: Path
):
    server.breaks_after = [500, 0]
    with pytest.raises(DataError, match=r"images\.tar\.gz cannot be fetched \(the connection breaks off\); .* is kept"):
        fetch("oxford-pets", tmp_path, archives=pets)
    assert [path.name for path in tmp_path.iterdir()] == ["images.tar.gz.part"]
    fetch("oxford-pets", tmp_path, archives=pets)
    assert server.asked[2] == ("images.tar.gz", "bytes=500-")
    assert recognise(tmp_path) == "oxford_pets"


def test_a_part_that_is_whole_is_only_renamed(server: Server, pets: dict[str, tuple[Archive, ...]], tmp_path: Path):
    (tmp_path / "images.tar.gz.part").write_bytes(server.files["images.tar.gz"])
    fetch("oxford-pets", tmp_path, archives=pets)
    assert recognise(tmp_path) == "oxford_pets"


def test_a_server_without_ranges_starts_over(server: Server, pets: dict[str, tuple[Archive, ...]], tmp_path: Path):
    server.ranges = False
    (tmp_path / "images.tar.gz.part").write_bytes(b"what came before")
    fetch("oxford-pets", tmp_path, archives=pets)
    assert (tmp_path / "images.tar.gz").read_bytes() == server.files["images.tar.gz"]


def test_a_server_without_ranges_that_breaks_off_is_asked_while_more_comes(
    server: Server, pets: dict[str, tuple[Archive, ...]], tmp_path: Path
):
    server.ranges = False
    server.breaks_after = [300, 500, 400, 600]
    with pytest.raises(DataError, match=r"images\.tar\.gz cannot be fetched \(the connection breaks off\)"):
        fetch("oxford-pets", tmp_path, archives=pets)
    assert len(server.asked) == 3
    server.breaks_after = [300, 500]
    fetch("oxford-pets", tmp_path / "again", archives=pets)
    assert recognise(tmp_path / "again") == "oxford_pets"


@pytest.mark.parametrize("name", ["images.tar.gz", "images.tar.gz.part"])
def test_a_wrong_md5_is_said_and_removes_nothing(
    server: Server, pets: dict[str, tuple[Archive, ...]], tmp_path: Path, name: str
):
    wrong = b"x" * len(server.files["images.tar.gz"])
    (tmp_path / name).write_bytes(wrong)
    said = rf"{name} has the MD5 {hashlib.md5(wrong).hexdigest()}, but images\.tar\.gz should have .*; delete it"
    with pytest.raises(DataError, match=said):
        fetch("oxford-pets", tmp_path, archives=pets)
    assert (tmp_path / name).read_bytes() == wrong


def test_no_server_and_no_file_say_what_to_fetch_by_hand(
    server: Server, pets: dict[str, tuple[Archive, ...]], tmp_path: Path
):
    by_hand = rf"or fetch {server.url}/images\.tar\.gz in another way and put it at {tmp_path}/images\.tar\.gz\."
    with pytest.raises(DataError, match=rf"http://127\.0\.0\.1:1/x/images.* \(.*refused.*\).* {by_hand}"):
        fetch("oxford-pets", tmp_path, archives=pets, mirror="http://127.0.0.1:1/x/")
    with pytest.raises(DataError, match="does not begin with http"):
        fetch("oxford-pets", tmp_path, archives=pets, mirror="file:///etc")
    del server.files["images.tar.gz"]
    with pytest.raises(DataError, match=rf"\(the server says 404 Not Found\).* {by_hand}"):
        fetch("oxford-pets", tmp_path, archives=pets)


def test_a_mirror_is_asked_for_the_same_names(server: Server, pets: dict[str, tuple[Archive, ...]], tmp_path: Path):
    away = tuple(Archive(f"http://127.0.0.1:1/{a.name}", a.md5, a.folder) for a in pets["oxford-pets"])
    fetch("oxford-pets", tmp_path, archives={"oxford-pets": away}, mirror=f"{server.url}/some/where")
    assert recognise(tmp_path) == "oxford_pets"


def test_an_archive_that_leads_outside_is_refused(server: Server, tmp_path: Path):
    evil = server.archive("images.tar.gz", {"images/a": b"1", "../../evil": b"2"}, "images")
    with pytest.raises(DataError, match=r"images\.tar\.gz is no archive that can be unpacked \(.*outside"):
        fetch("evil", tmp_path / "a" / "b", archives={"evil": (evil,)})
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"images.tar.gz"}
    assert not (tmp_path / "evil").exists()


def mat(mask: list[list[int]]) -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, {"GTcls": {"Segmentation": np.array(mask, dtype=np.uint8), "CategoriesPresent": [1]}})
    return buffer.getvalue()


def test_sbd_adds_its_masks_to_voc_but_not_those_of_val(server: Server, tmp_path: Path):
    voc, names = "VOCdevkit/VOC2012", ("a_train", "b_val", "c_sbd")
    small = picture(np.zeros((2, 3, 3), dtype=np.uint8), "JPEG")
    members = {f"{voc}/JPEGImages/{name}.jpg": small for name in names}
    members |= {f"{voc}/SegmentationClass/{n}.png": picture(np.full((2, 3), 5, np.uint8)) for n in names[:2]}
    members |= {f"{voc}/ImageSets/Segmentation/{n[2:]}.txt": f"{n}\n".encode() for n in names[:2]}
    masks = {f"benchmark_RELEASE/dataset/cls/{name}.mat": mat([[0, 20, 1], [0, 3, 3]]) for name in names}
    archives = {
        "voc2012": (server.archive("voc.tar", members, ARCHIVES["voc2012"][0].folder),),
        "sbd": (server.archive("benchmark.tgz", masks, f"{voc}/SegmentationClassAug"),),
    }
    with pytest.raises(DataError, match=rf"VOC 2012, which is not in .*; first: pixelwise fetch voc2012 {tmp_path}"):
        fetch("sbd", tmp_path, archives=archives)
    (tmp_path / "VOCdevkit" / "VOC2007").mkdir(parents=True)  # of another year, which is not what is asked for
    fetch("voc2012", tmp_path, archives=archives)
    assert splits("voc", tmp_path) == ["train", "val"]
    fetch("sbd", tmp_path, archives=archives)
    dataset = open_dataset(recognise(tmp_path), tmp_path, "train_aug")
    assert list(dataset.ids) == ["a_train", "c_sbd"]
    assert dataset[0].mask.tolist() == [[5] * 3] * 2
    assert dataset[1].mask.tolist() == [[0, 20, 1], [0, 3, 3]]


def test_addresses_and_sums_are_torchvisions():
    from torchvision.datasets import OxfordIIITPet, SBDataset
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    ours = {name: [(a.url, a.md5) for a in parts] for name, parts in ARCHIVES.items()}
    assert ours["oxford-pets"] == list(OxfordIIITPet._RESOURCES)
    assert ours["voc2012"] == [(DATASET_YEAR_DICT["2012"]["url"], DATASET_YEAR_DICT["2012"]["md5"])]
    assert ours["sbd"] == [(SBDataset.url, SBDataset.md5)]


def test_the_command_says_what_it_needs_in_one_sentence(server: Server, tmp_path: Path):
    _, err = pixelwise("fetch", "oxford-pets", "pets", "--mirror", server.url, cwd=tmp_path, status=2)
    assert "images.tar.gz cannot be fetched (the server says 404 Not Found)" in err
    assert "put it at pets/images.tar.gz." in err
    _, err = pixelwise("fetch", "oxford", "pets", cwd=tmp_path, status=2)
    assert "There is no dataset 'oxford' to fetch; did you mean oxford-pets?" in err
    out, _ = pixelwise("fetch", "--help", cwd=tmp_path)
    assert "pixelwise fetch voc2012 datasets/voc && pixelwise fetch sbd datasets/voc" in out
