"""The architectures, one paper a file. Importing this package imports torch.

Every module in it is imported, so that a new file registers itself.
"""

from importlib import import_module
from pkgutil import iter_modules

from pixelwise.models.outputs import WithAuxiliary
from pixelwise.models.registry import Architecture, Paper, Weights, architecture, arguments, build, names, start_from

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Architecture",
    "Paper",
    "Weights",
    "WithAuxiliary",
    "architecture",
    "arguments",
    "build",
    "names",
    "start_from",
]
