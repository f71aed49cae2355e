"""The models that pixelwise knows by name: those inside the package, and directories."""

from __future__ import annotations

from pathlib import Path

from pixelwise.bundle import CONFIG, Bundle, read_bundle
from pixelwise.errors import BundleError

DEFAULT_MODEL = "default"
_SHIPPED = Path(__file__).parent / "bundles"


def model_names() -> list[str]:
    """The names of the models inside the package, sorted."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{CONFIG}"))


def find_model(model: str | Path) -> Bundle:
    """A bundle by its directory, or by its name inside the package.

    Raises:
        BundleError: there is no such model (the message lists what there is), or it is damaged.
    """
    path = Path(model)
    if str(model) in model_names() and not (path / CONFIG).is_file():  # a directory of that name comes first
        return read_bundle(_SHIPPED / str(model))
    if not _is_directory(path):
        there = ", ".join(model_names()) or "none"
        raise BundleError(
            f"There is no model {str(model)!r}: no directory of that name, and the built-in ones are: {there}."
        )
    return read_bundle(path)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, say
        return False
