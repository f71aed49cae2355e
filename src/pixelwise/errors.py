"""The exception family of pixelwise.

Every message is one sentence or two that say what was wrong, where, and what to do about it; the command line prints it
as it stands and exits with status 2.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager


class PixelwiseError(Exception):
    """Base of every error that pixelwise raises on purpose."""


class ImageError(PixelwiseError):
    """A photo that cannot be read, or that is larger than the limits allow."""


class MaskError(PixelwiseError):
    """A mask that cannot be read, or that holds values which no class table explains."""


class LabelError(MaskError):
    """A mask that can be read, but holds values or colours that stand for no class."""


class BundleError(PixelwiseError):
    """A model directory that is missing, damaged, or from a newer version."""


class EngineError(PixelwiseError):
    """An inference engine that is not installed, or that refuses the model."""


class DataError(PixelwiseError):
    """A dataset whose files are missing or disagree."""


class RecipeError(PixelwiseError):
    """A training recipe that does not validate."""


class OutputError(PixelwiseError):
    """A result that cannot be written, or that would overwrite another."""


def did_you_mean(name: str, known: Sequence[str], then: str, *, most: int = 3) -> str:
    """The end of a message about an unknown name: "did you mean A or B? Then", or "then" where none is close."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=most)
    return f"did you mean {' or '.join(close)}? {then[0].upper()}{then[1:]}" if close else then


def needs_train_extra(what: str) -> AbstractContextManager[None]:
    """For imports that the extra `train` brings: where a package is missing, one sentence says so."""
    return needs_extra(what, "train")


@contextmanager
def needs_extra(what: str, extra: str) -> Iterator[None]:
    """For imports that an extra brings: where a package is missing, one sentence says so."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise PixelwiseError(
            f"{what} needs {package}, which is not installed; `pip install 'pixelwise[{extra}]'` brings it."
        ) from error
