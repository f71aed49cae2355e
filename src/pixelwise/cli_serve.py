"""The command that serves models over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelwise.cli_options import NumberRange, load_bundle, short_name
from pixelwise.errors import PixelwiseError, needs_extra

if TYPE_CHECKING:
    from pixelwise.serve.runs import Runs

_OWN = ("127.0.0.1", "::1", "localhost")

_EXAMPLES = """\b
Examples:
  pixelwise serve
  pixelwise serve --runs runs
  pixelwise serve --model default --model road=runs/camvid-unet/model --port 9000
  PIXELWISE_TOKEN=secret pixelwise serve --host 0.0.0.0
\b
  curl -F image=@photo.jpg http://127.0.0.1:8000/v1/segment
  curl -F image=@photo.jpg -H 'Accept: image/png' http://127.0.0.1:8000/v1/segment > mask.png
"""


@click.command(epilog=_EXAMPLES)
@click.option(
    "--model", "models", multiple=True, default=("default",), help="What to serve, as MODEL or NAME=MODEL; repeatable."
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of training runs and reports for the page to show; by default `runs`, if that is safe.",
)
@click.option("--host", default="127.0.0.1", help="The address to listen on; 0.0.0.0 for all: set a token then.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="0 for any that is free.")
@click.option("--queue", type=click.IntRange(0), default=32, help="Requests that may wait; others get 429.")
@click.option("--deadline", type=NumberRange(0.1), default=30.0, help="Seconds that a request may wait.")
@click.option("--max-megabytes", type=click.IntRange(1), default=32, help="Of a request.")
@click.option("--max-megapixels", type=click.IntRange(1), default=50, help="Of a photo.")
def serve(
    models: tuple[str, ...],
    runs: Path | None,
    host: str,
    port: int,
    queue: int,
    deadline: float,
    max_megabytes: int,
    max_megapixels: int,
) -> None:
    """Answer photos with masks over HTTP, with a page at `/`.

    The page is for people, the rest for programs. Where the environment variable PIXELWISE_TOKEN has a token, every
    request has to bring it. With one, or where only this machine can ask, requests may name further models, pretrained
    ones and those of finished runs, which are loaded when they are asked for; and the page shows runs and reports.
    Nothing of a photo is kept. Serving needs `pip install 'pixelwise[serve]'`.
    """
    with needs_extra("Serving", "serve"):
        from pixelwise.serve.app import create_app
        from pixelwise.serve.runs import Runs
        from pixelwise.serve.server import run
        from pixelwise.serve.service import Limits, Service

    limits = Limits(max_bytes=max_megabytes << 20, max_pixels=max_megapixels * 10**6, queue=queue, deadline=deadline)
    token = os.environ.get("PIXELWISE_TOKEN")
    among_friends = bool(token) or host in _OWN
    folder = _folder_of_runs(runs, usual=among_friends)
    shown = Runs(folder) if folder else None
    service = Service(_named(models), others=lambda: _others(shown) if among_friends else {}, limits=limits)
    names = _OWN if host in _OWN and not token else None
    app = create_app(service, token=token, runs=shown, names=names)
    run(app, host=host, port=port, failure=lambda: service.models.failure)


def _folder_of_runs(given: Path | None, *, usual: bool) -> Path | None:
    """The directory of runs that was given, or, where wanted, the one that training puts them in."""
    if given is not None and not given.is_dir():
        raise PixelwiseError(f"There is no directory {given} to show runs of.")
    if given is not None or not usual:
        return given
    return Path("runs") if Path("runs").is_dir() else None


def _others(runs: Runs | None) -> dict[str, str]:
    """What may be loaded beside the models that were given, by what requests call it."""
    from pixelwise.api import takes_a_while
    from pixelwise.catalogue import cached_path, model_names, pretrained_names

    there = [name for name in pretrained_names() if cached_path(name).is_dir() or takes_a_while(name)]
    return {**{name: name for name in [*model_names(), *there]}, **(runs.models() if runs else {})}


def _named(models: tuple[str, ...]) -> dict[str, str]:
    """What requests call models: the name that was given, or see `short_name`."""
    named: dict[str, str] = {}
    for each in models:
        name, equals, model = each.partition("=")
        if not equals:
            name, model = short_name(each), each
        if name in named:
            raise PixelwiseError(f"Two models would be called {name!r}; give one another name: --model NAME={model}.")
        load_bundle(model)  # now rather than when the server is up
        named[name] = model
    return named
