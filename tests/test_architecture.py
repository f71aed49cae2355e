"""The rules of the house, read from the code: imports point down, and what a user runs never needs torch."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import pixelwise

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "pixelwise"
PHOTO = ROOT / "examples" / "photos" / "chelsea.png"
RUNTIME_PYTHON = ROOT / ".venv-runtime" / "bin" / "python"


@dataclass(frozen=True)
class Layer:
    """A row of the table: modules that import from earlier rows only, never from each other.

    A package's name covers what is inside it, but for files that have a place of their own.
    """

    name: str
    runtime: str = ""
    training: str = ""


# From the ground up. What stands in a row may import from earlier rows only, `runtime` nothing of `training`.
LAYERS = (
    Layer("leaf", runtime="errors watcher pages machine"),
    Layer("leaf", runtime="files labels decoding settings rows"),
    Layer("leaf", runtime="run_directory"),
    Layer("leaf", runtime="images masks ledger"),
    Layer(
        "part",
        runtime="colours render confusion tiling engine card scaling large_photo",
        training="losses recipe checkpoint curves processes run_log fetch",
    ),
    Layer(
        "part",
        runtime="interpolation panel picture_streams geotiff bootstrap boundary bundle data calibration matching"
        " conventions significance advise",
        training="acceleration models optimization",
    ),
    Layer(
        "part", runtime="metrics segmentation catalogue fingerprint sheet", training="data.transforms export describe"
    ),
    Layer("part", runtime="figures", training="data.loader"),
    Layer("verb", runtime="segmenter", training="pretrained preview run_state configure standalone"),
    Layer("verb", runtime="api audit large_segmentation evaluate doctor cost", training="validation"),
    Layer("verb", runtime="batch compare quantization info"),
    Layer("verb", runtime="deployment", training="trained data_check"),
    Layer("verb", training="run_page plan"),
    Layer("verb", training="train"),
    Layer("cli", runtime="__init__ terminal"),
    Layer("cli", runtime="report listing doctor.summary cli_options evaluation_charts comparison_charts audit_report"),
    Layer("cli", runtime="evaluation_files comparison_files audit_files audit_page"),
    Layer("cli", training="serve"),  # with packages of its own, but without torch
    Layer("cli", runtime="cli_advise cli_audit cli_data cli_evaluate cli_export cli_serve"),
    Layer("cli", runtime="cli"),
    Layer("cli", runtime="__main__"),
)

# What the runtime half may import beside the standard library, at the head of a file or inside a function.
# pyarrow, cleanlab, nncf and rasterio are extras of their own.
RUNTIME_PACKAGES = {
    "numpy",
    "PIL",
    "rich",
    "click",
    "platformdirs",
    "yaml",
    "openvino",
    "onnxruntime",
    "pyarrow",
    "cleanlab",
    "nncf",
    "rasterio",
}

# These start the training half, inside the function that needs it: the commands, and loading a model that has to be
# converted first, or is wanted as one file. Serving has an extra of its own, too.
STARTS_TRAINING = {"cli", "cli_data", "cli_serve", "api", "deployment"}

# What the runtime half does without.
HEAVY = [
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "pydantic",
    "safetensors",
    "onnx",
    "onnxscript",
    "matplotlib",
    "scipy",
    "pyarrow",
    "cleanlab",
    "rasterio",
]

# What `import pixelwise` must not load.
NOT_AT_START = [*HEAVY, "yaml"]


@dataclass(frozen=True)
class Import:
    """One imported module, and where."""

    importer: str
    imported: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.imported}"


def module_name(path: Path) -> str:
    """`src/pixelwise/data/layouts/voc.py` -> "data.layouts.voc"; a package's `__init__.py` has the package's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def row_of(module: str) -> tuple[int, str, str] | None:
    """Row in `LAYERS`, half, and the entry of the table that covers the module, the most specific one."""
    found = [
        (row, half, entry)
        for row, layer in enumerate(LAYERS)
        for half in ("runtime", "training")
        for entry in getattr(layer, half).split()
        if module == entry or module.startswith(f"{entry}.")
    ]
    return max(found, key=lambda place: len(place[2]), default=None)


def imports_of(module: str, source: str) -> list[Import]:
    """Every import of a file but those for type checkers only."""
    return list(_imports(module, ast.parse(source), lazy=False))


def _imports(module: str, node: ast.AST, *, lazy: bool) -> Iterator[Import]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for statement in node.orelse:
            yield from _imports(module, statement, lazy=lazy)
        return
    if isinstance(node, ast.Import):
        yield from (Import(module, alias.name, node.lineno, lazy) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, f"{module}, line {node.lineno}: write imports in full, from pixelwise."
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            is_module = submodule.removeprefix("pixelwise.") in MODULES
            yield Import(module, submodule if is_module else str(node.module), node.lineno, lazy)
    inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _imports(module, child, lazy=inside)


def within_pixelwise(imported: str) -> str | None:
    """The name in `MODULES` of what is imported; None if it is no part of pixelwise."""
    if imported == "pixelwise":
        return "__init__"
    return imported.removeprefix("pixelwise.") if imported.startswith("pixelwise.") else None


def upward(found: Import) -> bool:
    """Whether an import points to its own row or a later one; a package may import within itself."""
    target = within_pixelwise(found.imported)
    if target is None:
        return False
    here, there = row_of(found.importer), row_of(target)
    if here is None or there is None:
        return False  # not in the table, which has a test of its own
    return here[2] != there[2] and there[0] >= here[0]


def leaves_runtime(found: Import) -> bool:
    """Whether a module of the runtime half imports what only the training half has."""
    here = row_of(found.importer)
    if here is None or here[1] != "runtime":
        return False
    target = within_pixelwise(found.imported)
    if target is None:
        top = found.imported.split(".")[0]
        return top not in RUNTIME_PACKAGES and top not in sys.stdlib_module_names
    there = row_of(target)
    starts = found.lazy and found.importer in STARTS_TRAINING
    return there is not None and there[1] == "training" and not starts


def runtime_modules() -> list[str]:
    """As they are imported: "pixelwise", "pixelwise.labels", ..."""
    places = {module: row_of(module) for module in MODULES}
    names = [module for module, place in places.items() if place and place[1] == "runtime" and module != "__main__"]
    return sorted("pixelwise" if name == "__init__" else f"pixelwise.{name}" for name in names)


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return [found for name, path in MODULES.items() for found in imports_of(name, path.read_text(encoding="utf-8"))]


def test_every_module_has_a_place_in_the_table() -> None:
    homeless = [name for name in MODULES if row_of(name) is None]
    assert not homeless, f"give {', '.join(homeless)} a row in LAYERS: the lowest that its imports allow"


def test_no_import_points_up_or_sideways(imports: list[Import]) -> None:
    assert [str(found) for found in imports if upward(found)] == []


def test_runtime_modules_import_nothing_of_the_training_half(imports: list[Import]) -> None:
    assert [str(found) for found in imports if leaves_runtime(found)] == []


@pytest.mark.parametrize(
    ("module", "source", "broken"),
    [
        ("masks", "from pixelwise.labels import VOC", None),
        ("masks", "from pixelwise import labels", None),
        ("decoding", "from pixelwise.images import read_image", upward),
        ("images", "from pixelwise import masks", upward),
        ("images", "import pixelwise", upward),
        ("files", "from pixelwise.labels import VOC", upward),
        ("labels", "def f():\n    from pixelwise.segmenter import Segmenter", upward),
        ("data.layouts.voc", "from pixelwise.data.sample import Sample", None),
        ("data.transforms", "from pixelwise.data.loader import train_loader", upward),
        ("data.layouts.voc", "from pixelwise.losses import soft_dice_loss", leaves_runtime),
        ("models.unet", "import timm", None),
        ("engine", "import torch", leaves_runtime),
        ("engine", "def f():\n    from torch import nn", leaves_runtime),
        ("engine", "if TYPE_CHECKING:\n    import torch\nelse:\n    import scipy", leaves_runtime),
        ("engine", "if TYPE_CHECKING:\n    from torch import nn", None),
        ("engine", "import os.path, onnxruntime", None),
        ("segmenter", "from pixelwise.losses import soft_dice_loss", leaves_runtime),
        ("cli", "from pixelwise.train import train", leaves_runtime),
        ("cli", "def f():\n    from pixelwise.train import train", None),
        ("cli", "def f():\n    import torch", leaves_runtime),
    ],
)
def test_the_rules_catch_what_they_should(module: str, source: str, broken: object) -> None:
    for rule in (upward, leaves_runtime):
        assert any(rule(found) for found in imports_of(module, source)) == (rule is broken), rule


def run(*command: str | Path, cwd: Path = ROOT, pythonpath: str | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    if pythonpath is not None:
        environment["PYTHONPATH"] = pythonpath
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_runtime_half_loads_no_heavy_package() -> None:
    code = (
        f"import sys, {', '.join(runtime_modules())}; print(*(name for name in {NOT_AT_START} if name in sys.modules))"
    )
    assert run(sys.executable, "-c", code, pythonpath=str(PACKAGE.parent)).split() == []


def test_serving_needs_no_torch() -> None:
    code = "import sys, pixelwise.serve.app, pixelwise.serve.server; print('torch' in sys.modules)"
    assert run(sys.executable, "-c", code, pythonpath=str(PACKAGE.parent)).split() == ["False"]


@pytest.fixture(scope="module")
def runtime_python() -> Path:
    if not RUNTIME_PYTHON.exists():
        pytest.skip("there is no .venv-runtime; `make test` makes it")
    return RUNTIME_PYTHON


def test_the_runtime_environment_has_no_heavy_package(runtime_python: Path) -> None:
    code = f"from importlib.util import find_spec; print(*(name for name in {HEAVY} if find_spec(name)))"
    assert run(runtime_python, "-c", code).split() == []


def test_the_runtime_half_imports_in_the_runtime_environment(runtime_python: Path, tmp_path: Path) -> None:
    code = f"import {', '.join(runtime_modules())}; print(pixelwise.__file__)"
    assert Path(run(runtime_python, "-c", code, cwd=tmp_path).strip()).parent == PACKAGE


def test_a_photo_is_segmented_in_the_runtime_environment(runtime_python: Path, tmp_path: Path) -> None:
    command = runtime_python.with_name("pixelwise")
    run(command, "segment", PHOTO, "--save", "mask,overlay,panel,json", "--out", tmp_path / "out", cwd=tmp_path)
    written = sorted(path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert len(written) == 4, written
    assert written.count(".json") == 1, written


def test_torch_is_said_to_be_missing_in_the_runtime_environment(runtime_python: Path, tmp_path: Path) -> None:
    command = [runtime_python.with_name("pixelwise"), "segment", PHOTO, "--engine", "torch", "--out", tmp_path / "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert re.fullmatch(
        r"pixelwise: The engine torch needs \w+, .*`pip install 'pixelwise\[train\]'` .*\.\n", done.stderr
    )
    assert not (tmp_path / "out").exists()


def test_no_public_name_is_also_a_module() -> None:
    assert set(pixelwise.__all__) & set(MODULES) == set()
