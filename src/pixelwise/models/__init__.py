"""The architectures, one paper a file. Importing this package imports torch."""

from pixelwise.models import unet as _unet  # noqa: F401  (registers itself)
from pixelwise.models.registry import arguments, build, names

__all__ = ["arguments", "build", "names"]
