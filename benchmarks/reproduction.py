"""The mission's tables: every architecture trained alike on CamVid and on Oxford-IIIT Pet.

Each run is `pixelwise train` with one recipe for all of a dataset, chosen on `val`; then `pixelwise evaluate` on
`test`, once. What is finished is skipped and what was begun goes on, so this can be stopped and started at any time.
Results go to docs/reproduction/DATASET/NAME-SEED: resolved recipe, log, curves, metrics; docs/reproduction.md has the
table that `--table` makes of them.

  python benchmarks/reproduction.py --data-root DATA
  python benchmarks/reproduction.py --data-root DATA --only pets/segnet-0 pets/unet-0
  python benchmarks/reproduction.py --table
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from _common import ROOT, machine, put_between_marks, table
from pixelwise.data import open_dataset
from pixelwise.recipe import Input

RESULTS = ROOT / "docs" / "reproduction"
DOCUMENT = ROOT / "docs" / "reproduction.md"
ARGUMENTS: dict[str, dict[str, Any]] = {
    "unet2015": {"batch_norm": True},
    "fcn32s": {"batch_norm": True, "same_padding": True},
    "fcn16s": {"batch_norm": True, "same_padding": True},
    "fcn8s": {"batch_norm": True, "same_padding": True},
}
"""What is built otherwise than by default: batch normalisation, to learn from random weights, and no wide border."""
# The weights are timm's or torchvision's; on a machine without a network, --encoder-weights and --vgg16-weights name
# files of them. The rates of VGG-16 were never tried against others.
IMAGENET = "model.encoder_weights=imagenet"
UNET_PRETRAINED = (IMAGENET, "optimizer.encoder_lr=6.0e-4", "optimizer.lr=2.0e-3")
VGG16_PRETRAINED = (
    IMAGENET,
    "optimizer.encoder_lr=2.0e-4",
    f"input.mean={list(Input().mean)}",
    f"input.std={list(Input().std)}",
)


@dataclass(frozen=True)
class Trial:
    """One training: dataset, name in the table, seed, what departs from the recipe, whose weights it goes on from."""

    dataset: str
    name: str
    seed: int
    settings: tuple[str, ...]
    after: str | None = None

    @property
    def id(self) -> str:
        """Also where its results lie."""
        return f"{self.dataset}/{self.name}-{self.seed}"

    @property
    def pretrained(self) -> bool:
        """Its encoder began with ImageNet's weights, in this training or in the one that it goes on from."""
        return IMAGENET in self.settings or "imagenet" in (self.after or "")


def arguments_of(name: str) -> dict[str, Any]:
    """What an architecture is built with here."""
    return dict(ARGUMENTS.get(name, {}))


def _trials() -> list[Trial]:
    """In the order in which they are made: one of each first, then further seeds of the smaller ones."""
    settings = {
        "unet": ("model.name=unet", *UNET_PRETRAINED),
        "unet2015": ("model.name=unet2015",),
        "fcn8s": ("model.name=fcn8s",),
        "segnet": ("model.name=segnet",),
        "unet-random": ("model.name=unet",),
        "deeplabv3_mobilenet_v3_large": ("model.name=deeplabv3_mobilenet_v3_large",),
        "fcn_resnet50": ("model.name=fcn_resnet50",),
        "deeplabv3_resnet50": ("model.name=deeplabv3_resnet50",),
        "fcn32s": ("model.name=fcn32s",),
        "segnet-imagenet": ("model.name=segnet", *VGG16_PRETRAINED),
        "fcn8s-imagenet": ("model.name=fcn8s", *VGG16_PRETRAINED),
        "fcn32s-imagenet": ("model.name=fcn32s", *VGG16_PRETRAINED),
        "fcn_resnet101": ("model.name=fcn_resnet101",),
        "deeplabv3_resnet101": ("model.name=deeplabv3_resnet101",),
    }
    small = ("unet", "unet-random", "deeplabv3_mobilenet_v3_large")
    datasets = ("pets", "camvid")
    trials = [Trial("pets", name, 0, settings[name]) for name in ("unet", "unet2015", "fcn8s")]
    trials += [Trial(dataset, name, 0, settings[name]) for dataset in reversed(datasets) for name in small]
    trials += [Trial(dataset, name, 0, own) for dataset in datasets for name, own in settings.items()]
    starts = {"": (), "-imagenet": VGG16_PRETRAINED[1:]}  # the weights themselves come with those that they go on from
    for dataset in datasets:  # as in the paper, each from the coarser one before it
        for start, rest in starts.items():
            shared = ("steps=300", *rest)
            own = ("model.name=fcn16s", *shared)
            trials.append(Trial(dataset, f"fcn16s{start}", 0, own, after=f"fcn32s{start}"))
            own = ("model.name=fcn8s", *shared)
            trials.append(Trial(dataset, f"fcn8s-staged{start}", 0, own, after=f"fcn16s{start}"))
    for seed in (1, 2):
        trials += [Trial(dataset, name, seed, settings[name]) for dataset in datasets for name in small]
    return list(dict.fromkeys(trials))


FOLDERS = {"camvid": "camvid", "pets": "oxford_pets"}


def main() -> None:
    options = _options()
    if not options.table:
        for trial in _trials():
            if not options.only or trial.id in options.only:
                _make(trial, options)
    _write_table()


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data-root", type=Path, default=ROOT / "datasets", help="has camvid/ and oxford_pets/")
    made.add_argument("--runs", type=Path, default=ROOT / "runs" / "reproduction", help="where the runs are kept")
    made.add_argument("--only", nargs="+", metavar="ID", help="these only, as pets/segnet-0")
    made.add_argument("--encoder-weights", help="a file instead of timm's download")
    made.add_argument(
        "--vgg16-weights", help="what benchmarks/vgg16_weights.py makes, instead of torchvision's download"
    )
    made.add_argument("--engine", default="openvino", help="what evaluates; `torch` takes a graphics card")
    made.add_argument("--table", action="store_true", help="write the table from the results that are there, and stop")
    return made.parse_args()


def _make(trial: Trial, options: argparse.Namespace) -> None:
    results, run = RESULTS / trial.id, options.runs / trial.id
    if (results / "metrics.json").is_file():
        return
    if not (run / "model" / "config.json").is_file():
        print(f"{trial.id}: training", flush=True)
        _pixelwise(*_training(trial, options, run))
    splits: dict[str, tuple[str, ...]] = {"test": ()}
    if trial.dataset == "pets":
        splits["test_binary"] = ("--option", "labels=binary", "--map", "border=pet")
    measured = {}
    for name, more in splits.items():
        saved = run / f"{name}.json"
        if not saved.is_file():
            print(f"{trial.id}: {name}", flush=True)
            data = options.data_root / FOLDERS[trial.dataset]
            words = ("evaluate", run / "model", "--data", data, "--split", "test", "--save", saved)
            _pixelwise(*words, "--engine", options.engine, *more)
        measured[name] = json.loads(saved.read_text())
    results.mkdir(parents=True, exist_ok=True)
    for name in ("log.jsonl", "curves.png"):
        shutil.copyfile(run / name, results / name)
    recipe = (run / "recipe.yaml").read_text()  # where the weights lay on this machine is of no use to others
    recipe = recipe.replace(options.encoder_weights or "imagenet", "imagenet").replace(str(options.runs), "RUNS")
    if options.vgg16_weights:  # not torchvision's own of `vgg16_bn`, so they keep their file's name
        recipe = recipe.replace(options.vgg16_weights, Path(options.vgg16_weights).name)
    (results / "recipe.yaml").write_text(recipe)
    metrics = _metrics(trial, run, options.data_root, measured)
    (results / "metrics.json").write_text(json.dumps(metrics) + "\n")
    _write_table()


def _training(trial: Trial, options: argparse.Namespace, run: Path) -> list[str | Path]:
    name = trial.settings[0].partition("=")[2]
    settings = [*trial.settings, f"model.arguments={json.dumps(arguments_of(name))}", f"seed={trial.seed}"]
    if IMAGENET in settings:
        settings[settings.index(IMAGENET)] = f"model.encoder_weights={_encoder_weights(trial, options)}"
    if trial.after:
        coarser = options.runs / trial.dataset / f"{trial.after}-{trial.seed}" / "best.safetensors"
        settings.append(f"model.weights={coarser}")
    recipe = ROOT / "recipes" / f"reproduction-{trial.dataset}.yaml"
    words: list[str | Path] = ["train", recipe, "--data-root", options.data_root, "--run", run]
    words += [word for setting in settings for word in ("--set", setting)]
    return [*words, "--resume"] if (run / "recipe.yaml").is_file() else words


def _encoder_weights(trial: Trial, options: argparse.Namespace) -> str:
    given = options.encoder_weights if trial.name == "unet" else options.vgg16_weights
    return given or "imagenet"


def _pixelwise(*words: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pixelwise", *map(str, words)], check=False)
    if done.returncode:
        sys.exit(f"pixelwise {words[0]} ended with status {done.returncode}; start this again to go on.")


def _metrics(trial: Trial, run: Path, data_root: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run: how it was made, its figures on `val`, and those on `test` but for single photos."""
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    source = recipe["data"]["train"][0]
    train = open_dataset(source["layout"], data_root / source["root"], source["split"], source["options"])
    config = json.loads((run / "model" / "config.json").read_text())
    clock = json.loads((run / "seconds.json").read_text())
    kept = ("figures", "figures_per_class", "classes", "confusion")
    return {
        "architecture": config["architecture"],
        "provenance": {key: value for key, value in config["provenance"].items() if not isinstance(value, list)},
        "pretrained": trial.pretrained,
        "photos": {"train": len(train), "test": measured["test"]["images"]},
        "machine": machine(),
        "training_seconds": clock["seconds"],
        "val": config["metrics"],
        **{name: {key: figures[key] for key in kept} for name, figures in measured.items()},
    }


def _write_table() -> None:
    """Put the results that are there between the marks of the document."""
    for dataset in FOLDERS:
        put_between_marks(DOCUMENT, dataset, _table(dataset))


def _table(dataset: str) -> str:
    """A row for each way to train; several seeds as their mean, least and greatest value."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((RESULTS / dataset).glob("*/metrics.json")):
        found.setdefault(path.parts[-2].rpartition("-")[0], []).append(json.loads(path.read_text()))
    binary = dataset == "pets"
    headings = ["network", "mean IoU, test", "95 % interval", *(["pet, binary"] if binary else []), "boundary IoU"]
    headings += ["pixel accuracy", "mean IoU, val", "trainings", "minutes"]
    rows = []
    for name, runs in found.items():
        intervals = [run["test"]["figures"]["mean_iou"] for run in runs]
        values = [float(each["value"]) for each in intervals]
        spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
        pets = [run["test_binary"]["figures_per_class"]["iou"][1]["value"] for run in runs] if binary else []
        row = [
            f"{name}{'' if runs[0]['pretrained'] else ' *'}",
            f"{mean(values):.3f}{spread}",
            f"{min(each['low'] for each in intervals):.3f} to {max(each['high'] for each in intervals):.3f}",
            *([f"{mean(pets):.3f}"] if binary else []),
            f"{mean(_value(run, 'mean_boundary_iou') for run in runs):.3f}",
            f"{mean(_value(run, 'pixel_accuracy') for run in runs):.3f}",
            f"{mean(next(iter(run['val'].values()))['mean IoU'] for run in runs):.3f}",
            len(runs),
            f"{mean(run['training_seconds'] for run in runs) / 60:.0f}",
        ]
        rows.append((mean(values), row))
    return table(headings, [row for _, row in sorted(rows, key=lambda each: -each[0])])


def _value(run: dict[str, Any], key: str) -> float:
    return float(run["test"]["figures"][key]["value"])


if __name__ == "__main__":
    main()
