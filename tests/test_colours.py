"""The colours, measured anew: Machado, Oliveira and Fernandes 2009 at severity 1.0, on linear RGB."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pixelwise.colours import VOC_DISPLAY_COLOURS, distinct_colours, for_display
from pixelwise.labels import VOC, ClassTable

VISION = {
    "normal": np.eye(3),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def lab(colours: tuple[tuple[int, int, int], ...], vision: str) -> NDArray[np.float64]:
    """CIELAB (N, 3), D65, of sRGB colours as someone with this vision sees them."""
    srgb = np.array(colours) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ VISION[vision].T, 0, 1)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def ciede2000(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour difference of CIELAB colours (..., 3). Source: Sharma, Wu and Dalal 2005, doi:10.1002/col.20070."""
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(one, -1, 0), np.moveaxis(other, -1, 0)
    mean7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(mean7 / (mean7 + 25.0**7)))
    c1, c2 = np.hypot((1 + g) * a1, b1), np.hypot((1 + g) * a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, (1 + g) * a1)) % 360, np.degrees(np.arctan2(b2, (1 + g) * a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180
    hue = (h1 + turn / 2) % 360
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    t = 1 - 0.17 * np.cos(np.radians(hue - 30)) + 0.24 * np.cos(np.radians(2 * hue))
    t += 0.32 * np.cos(np.radians(3 * hue + 6)) - 0.20 * np.cos(np.radians(4 * hue - 63))
    delta_l = (l2 - l1) / (1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2))
    delta_c = (c2 - c1) / (1 + 0.045 * chroma)
    delta_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * t)
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    rotation = rotation * np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    return np.sqrt(delta_l**2 + delta_c**2 + delta_h**2 + rotation * delta_c * delta_h)


def smallest_difference(colours: tuple[tuple[int, int, int], ...], vision: str) -> float:
    seen = lab(colours, vision)
    first, second = np.triu_indices(len(colours), 1)
    return float(ciede2000(seen[first], seen[second]).min())


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ],
)
def test_the_colour_difference_agrees_with_the_published_test_data(
    one: tuple[float, ...], other: tuple[float, ...], difference: float
) -> None:
    assert ciede2000(np.array(one), np.array(other)) == pytest.approx(difference, abs=5e-5)


FREQUENT = ("person", "cat", "dog", "horse", "sheep", "cow", "car", "bird", "chair", "bottle")


@pytest.mark.parametrize(
    ("names", "normal", "deutan", "protan"),
    [(FREQUENT[:6], 32, 20, 20), (FREQUENT, 21, 12, 13), (VOC.names, 16, 6, 7)],
)
def test_the_models_classes_can_be_told_apart(
    names: tuple[str, ...], normal: float, deutan: float, protan: float
) -> None:
    colours = tuple(VOC_DISPLAY_COLOURS[VOC.names.index(name)] for name in names)
    assert smallest_difference(colours, "normal") >= normal
    assert smallest_difference(colours, "deutan") >= deutan
    assert smallest_difference(colours, "protan") >= protan


def test_the_models_table_is_complete_and_bright() -> None:
    assert len(VOC_DISPLAY_COLOURS) == len(VOC)
    assert VOC_DISPLAY_COLOURS[0] == (0, 0, 0)
    lightness, a, b = lab(VOC_DISPLAY_COLOURS[1:], "normal").T
    assert lightness.min() >= 46
    assert np.hypot(a, b).min() >= 38


@pytest.mark.parametrize(
    ("count", "normal", "deficient"), [(2, 50, 50), (3, 50, 34), (8, 28, 17), (28, 17, 5.5), (64, 11, 0), (255, 6, 0)]
)
def test_distinct_colours_keep_their_distance(count: int, normal: float, deficient: float) -> None:
    colours = distinct_colours(count)
    assert len(set(colours)) == count
    assert smallest_difference(colours, "normal") >= normal
    assert min(smallest_difference(colours, "deutan"), smallest_difference(colours, "protan")) >= deficient
    lightness, a, b = lab(colours, "normal").T
    assert lightness.min() >= 40
    assert np.hypot(a, b).min() >= 25


def test_more_distinct_colours_begin_with_fewer() -> None:
    assert distinct_colours(0) == ()
    for count in (1, 8, 100):
        assert distinct_colours(255)[:count] == distinct_colours(count)


@pytest.mark.parametrize("count", [-1, 256])
def test_a_count_of_colours_that_no_table_has_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} colours"):
        distinct_colours(count)


def test_distinct_colours_make_a_class_table() -> None:
    assert len(ClassTable(tuple(map(str, range(255))), distinct_colours(255))) == 255


@pytest.mark.parametrize("name", ["background", "Background", "BACKGROUND"])
def test_a_background_is_black_as_overlays_leave_it_however_it_is_written(name: str):
    shown = for_display(ClassTable((name, "cell"), ((1, 2, 3), (4, 5, 6))))
    assert shown.colours == ((0, 0, 0), *distinct_colours(1))
