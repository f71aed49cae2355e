from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.data.description import class_table, read_description, stated_encoding, to_yaml
from pixelwise.data.encoding import Encoding
from pixelwise.errors import DataError
from pixelwise.labels import ClassTable


def state(folder: Path, text: str) -> Path:
    (folder / "dataset.yaml").write_text(text)
    return folder


def test_a_folder_without_one_states_nothing(tmp_path: Path) -> None:
    stated = read_description(tmp_path)
    assert (stated.names, stated.mapping, stated.splits, stated.ignore_index) == (None, (), {}, 255)
    assert read_description(state(tmp_path, "# nothing\n")).names is None


def test_everything_can_be_stated(tmp_path: Path) -> None:
    stated = read_description(
        state(
            tmp_path,
            """
            names: [background, road, car]
            colours: [[0, 0, 0], '#80ff00', '1,2,3']
            ignore_index: 200
            mapping: {'0,0,0': background, '#ff0000': road, '0,0,255': 2, '9,9,9': ignore, rest: ignore}
            tolerance: 30
            images: a
            masks: b/*.png
            splits: {val: [one, 002]}
            """,
        )
    )
    encoding, names = stated_encoding(stated)
    assert names == ("background", "road", "car")
    assert stated.colours == ((0, 0, 0), (128, 255, 0), (1, 2, 3))
    assert encoding.mapping == (((0, 0, 0), 0), ((255, 0, 0), 1), ((0, 0, 255), 2), ((9, 9, 9), 200))
    assert (encoding.kind, encoding.rest, encoding.tolerance) == ("colour", 200, 30)
    assert (stated.images, stated.masks, stated.splits) == ("a", "b/*.png", {"val": ("one", "002")})


def test_ids_and_names_are_as_they_are_written(tmp_path: Path) -> None:
    text = "names: [no, yes, 1.10, 010]\nmapping: {0: no, 010: yes, 20: 2}\nsplits: {val: [010, 007, 12, 1.10, 1_0]}"
    stated = read_description(state(tmp_path, text))
    assert stated.names == ("no", "yes", "1.10", "010")
    assert stated.mapping == ((0, "no"), (10, "yes"), (20, 2))
    assert stated.splits["val"] == ("010", "007", "12", "1.10", "1_0")


def test_names_follow_from_the_mapping(tmp_path: Path) -> None:
    encoding, names = stated_encoding(
        read_description(state(tmp_path, "mapping: {0: ground, 3: cat, 4: cat, 9: ignore}"))
    )
    assert names == ("ground", "cat")
    assert encoding.mapping == ((0, 0), (3, 1), (4, 1), (9, 255))
    _, names = stated_encoding(read_description(state(tmp_path, "mapping: {10: 0, 20: 1, rest: 255}")))
    assert names == ("background", "class 1")


def test_names_may_be_numbered(tmp_path: Path) -> None:
    assert read_description(state(tmp_path, "names: {0: cat, 1: dog}")).names == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmaes: [a, b]", "unknown key `nmaes`; did you mean names"),
        ("classes: 3", "unknown key `classes`; it may have: names, colours"),
        ("[1, 2]", "not a mapping of keys to values"),
        ("names: [a", "not valid YAML"),
        ("names: a", "`names` has to be a list"),
        ("names: [a, a]", "`names` has 'a' twice"),
        ("names: [a, '']", "`names` has an empty name"),
        ("names: [a, b]\ncolours: [[1, 2, 3]]", "`colours` has 1 entries, but `names` has 2"),
        ("names: [a]\ncolours: [[1, 2, 300]]", "a colour is"),
        ("ignore_index: 300", "`ignore_index` is 300; expected a whole number"),
        ("tolerance: true", "`tolerance` is True"),
        ("mapping: [1]", "`mapping` has to give a class"),
        ("mapping: {red: car}", "holds 'red'; expected a value such as 255"),
        ("mapping: {0: a, '0,0,0': b}", "mixes colour and values"),
        ("mapping: {0: a, '0': b}", "`mapping` has 0 twice"),
        ("mapping: {rest: a}", "has `rest` alone"),
        ("mapping: {0: [a]}", r"gives \['a'\] to 0"),
        ("masks: 3", "`masks` has to be a folder"),
        ("splits: [a]", "`splits` has to give"),
        ("splits: {valid: [a]}", "`splits` has 'valid'; did you mean val"),
        ("splits: {val: []}", r"`splits\.val` has to be a list"),
        ("splits: {val: [a], train: [a, b]}", "`splits` names 'a' twice"),
        ("mapping: {[1, 2]: a}", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
    ],
)
def test_a_mistake_is_said_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"(?s)dataset\.yaml.*{message}") as raised:
        read_description(state(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_class_that_is_not_named_is_said(tmp_path: Path) -> None:
    stated = read_description(state(tmp_path, "names: [background, car]\nmapping: {0: background, 1: cart}"))
    with pytest.raises(DataError, match="'cart', which is no class; did you mean car"):
        stated_encoding(stated)
    with pytest.raises(DataError, match="gives no value to a class"):
        stated_encoding(read_description(state(tmp_path, "mapping: {0: ignore, 255: ignore}")))
    with pytest.raises(DataError, match="both ids and names"):
        stated_encoding(read_description(state(tmp_path, "mapping: {0: background, 1: 1}")))
    with pytest.raises(DataError, match=r"dataset\.yaml: ignore_index is 1"):
        class_table(read_description(state(tmp_path, "ignore_index: 1")), ["a", "b"], [(0, 0, 0), (1, 1, 1)])


names_of_any_kind = st.lists(
    st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12)
    .map(str.strip)
    .filter(bool),
    min_size=2,
    max_size=5,
    unique=True,
).filter(lambda names: "ignore" not in names)


@settings(max_examples=40, deadline=None)
@given(names_of_any_kind, st.sampled_from(["value", "colour", "alpha"]), st.integers(0, 40), st.booleans())
def test_whatever_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], kind: str, tolerance: int, rest: bool
) -> None:
    folder = tmp_path_factory.mktemp("written")
    rng = np.random.default_rng(tolerance)
    colours = tuple(tuple(map(int, row)) for row in rng.choice(256, (len(names), 3), replace=False))
    keys = colours if kind == "colour" else range(0, 40 * len(names), 40)
    mapping = tuple((key, at) for at, key in enumerate(keys))
    encoding = Encoding(kind, mapping, rest=1 if rest else None, tolerance=tolerance, reason="so: it # is")  # type: ignore[arg-type]
    classes = ClassTable(tuple(names), colours)  # type: ignore[arg-type]
    text = to_yaml(classes, encoding, val=["007", "yes", "a b/c: d"], finding="found: it")
    yaml.safe_load(text)
    (folder / "dataset.yaml").write_text(text, encoding="utf-8")
    stated = read_description(folder)
    again, names_again = stated_encoding(stated)
    assert names_again == tuple(names)
    assert stated.colours == colours
    assert (again.kind, again.mapping, again.rest, again.tolerance) == (kind, mapping, encoding.rest, tolerance)
    assert stated.splits == {"val": ("007", "yes", "a b/c: d")}
