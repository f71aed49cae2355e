"""The command that serves models over HTTP."""

from __future__ import annotations

import os

import click

from pixelwise.cli_options import short_name
from pixelwise.errors import PixelwiseError, needs_extra

_EXAMPLES = """\b
Examples:
  pixelwise serve
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
@click.option("--host", default="127.0.0.1", help="The address to listen on; 0.0.0.0 for all, with a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="0 for any that is free.")
@click.option("--queue", type=click.IntRange(0), default=16, help="Requests that may wait; others get 429.")
@click.option("--deadline", type=click.FloatRange(0.1), default=30.0, help="Seconds that a request may wait.")
@click.option("--max-megabytes", type=click.IntRange(1), default=32, help="Of a request.")
@click.option("--max-megapixels", type=click.IntRange(1), default=50, help="Of a photo.")
def serve(
    models: tuple[str, ...],
    host: str,
    port: int,
    queue: int,
    deadline: float,
    max_megabytes: int,
    max_megapixels: int,
) -> None:
    """Answer photos with masks over HTTP.

    A token in the environment variable PIXELWISE_TOKEN has to be brought by every request. Nothing of a photo is kept.
    Serving needs `pip install pixelwise[serve]`.
    """
    with needs_extra("Serving", "serve"):
        from pixelwise.serve.app import create_app
        from pixelwise.serve.server import run
        from pixelwise.serve.service import Limits, Service

    limits = Limits(max_bytes=max_megabytes << 20, max_pixels=max_megapixels * 10**6, queue=queue, deadline=deadline)
    service = Service(_named(models), limits=limits)
    run(create_app(service, token=os.environ.get("PIXELWISE_TOKEN")), host=host, port=port)


def _named(models: tuple[str, ...]) -> dict[str, str]:
    """What requests call models: the name that was given, or see `short_name`."""
    from pixelwise.catalogue import find_model

    named: dict[str, str] = {}
    for each in models:
        name, equals, model = each.partition("=")
        if not equals:
            name, model = short_name(each), each
        if name in named:
            raise PixelwiseError(f"Two models would be called {name!r}; give one another name: --model NAME={model}.")
        find_model(model)  # now rather than when the server is up
        named[name] = model
    return named
