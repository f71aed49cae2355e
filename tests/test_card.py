from __future__ import annotations

import json
from dataclasses import replace

from helpers import COLOURS, DEFAULT_BUNDLE, SPEC
from pixelwise.bundle import BundleConfig, read_bundle
from pixelwise.card import model_card

BARE = BundleConfig(name="bare", architecture="unet", arguments={}, classes=COLOURS, input_spec=SPEC)


def test_a_model_that_nothing_is_known_of_has_a_card_without_empty_sections():
    card = model_card(BARE)
    assert card.startswith("# bare\n\nArchitecture: `unet`, with its defaults. ")
    assert "a longer side of 64 pixels; 4 classes" in card
    assert [line for line in card.splitlines() if line.startswith("#")] == ["# bare", "## Use"]
    assert "\n\n\n" not in card
    assert card.endswith("```\n")


def test_arguments_are_listed():
    card = model_card(replace(BARE, arguments={"encoder": "resnet18", "dropout": 0.1}))
    assert "`unet`, encoder resnet18, dropout 0.1." in card


def test_the_card_is_the_same_before_and_after_json():
    config = replace(BARE, arguments={"decoder_channels": (8, 4)}, metrics={"voc/val": {"IoU": {"red": 1.0}}})
    read_back = BundleConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert model_card(config) == model_card(read_back)


def test_figures_are_a_list_and_a_table():
    figures = {"photos": 12, "mean IoU": 0.62549, "pixel accuracy": None, "IoU": {"red": 0.5, "blue": None}}
    card = model_card(replace(BARE, metrics={"voc/val": figures}))
    assert (
        "## Measured on voc/val\n\n- photos: 12\n- mean IoU: 0.625\n- pixel accuracy: undefined\n\n"
        "| class | IoU |\n|---|---|\n| red | 0.500 |\n| blue | undefined |\n"
    ) in card


def test_a_name_of_a_class_stays_in_its_cell():
    card = model_card(replace(BARE, metrics={"voc/val": {"IoU": {"a|b: <b>c</b>": 0.5}}}))
    assert "\n| a\\|b: &lt;b&gt;c&lt;/b&gt; | 0.500 |\n" in card


def test_provenance_is_sorted_into_sections():
    provenance = {"description": "What it is.", "data": ["A", "B"], "limits": ["C"], "licences": [], "seed": 3}
    card = model_card(replace(BARE, provenance=provenance))
    assert card.startswith("# bare\n\nWhat it is.\n\nArchitecture")
    assert "## Data\n\n- A\n- B\n\n## Limits\n\n- C\n\n## Provenance\n\n- seed: 3\n" in card
    assert "Licences" not in card


def test_data_given_as_one_sentence_is_not_taken_to_pieces():
    card = model_card(replace(BARE, provenance={"data": "VOC"}))
    assert "- data: VOC\n" in card
    assert "- V\n" not in card


def test_the_card_of_the_default_model_is_the_one_of_its_config():
    config = read_bundle(DEFAULT_BUNDLE).config
    card = model_card(config)
    assert (DEFAULT_BUNDLE / "README.md").read_text(encoding="utf-8") == card
    for data, figures in config.metrics.items():
        assert f"## Measured on {data}" in card
        assert f"- mean IoU: {figures['mean IoU']:.3f}" in card
