from __future__ import annotations

from dataclasses import replace

import pytest

from helpers import DEFAULT_BUNDLE
from pixelwise.bundle import read_bundle
from pixelwise.catalogue import architectures
from pixelwise.listing import print_architectures, print_models


def test_models_are_listed_with_what_was_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    bundle = read_bundle(DEFAULT_BUNDLE)
    figures = {"voc/val": {"mean IoU": 0.6254}, "mine": {"mean IoU": None}, "odd": 3}
    print_models([replace(bundle, config=replace(bundle.config, metrics=figures))])
    out, _ = capsys.readouterr()
    assert "default" in out
    assert f"unet on {bundle.config.arguments['encoder']}" in out
    assert "voc/val: mean IoU 0.625" in out
    assert "mine: mean IoU not measured" in out
    assert "odd: mean IoU not measured" in out


def test_architectures_are_listed_family_by_family_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    print_architectures(architectures())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 82  # all but the licences, which are one line
    rows = {line.split()[0]: line.split() for line in lines if line.split()}
    for facts in architectures():
        assert f"{facts.parameters / 1e6:.1f}" in rows[facts.name]
        assert str(facts.output_stride) in rows[facts.name]
        assert next(iter(facts.weights), "none") in rows[facts.name]
    headings = [line.partition(":")[0] for line in lines if "arXiv" in line]
    assert headings == ["DeepLabV3", "FCN", "SegNet", "U-Net"]
    assert lines[-1] == ("Licences: code Apache-2.0; pretrained weights Apache-2.0 (timm), BSD-3-Clause (torchvision).")
