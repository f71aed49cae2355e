"""Who may ask: those who bring the token, and those who follow an address that was given to them."""

from __future__ import annotations

import hashlib
import hmac
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Depends, Request

from pixelwise.errors import PixelwiseError
from pixelwise.serve.problems import Problem


class Guard:
    """Asks for a token, where there is one.

    Args:
        token: what requests have to bring as `Authorization: Bearer TOKEN`; None for nothing.

    Raises:
        PixelwiseError: no header brings such a token: clients differ in how they send other letters, and space at its
            ends is taken off on the way.
    """

    def __init__(self, token: str | None) -> None:
        if token and not (token.isascii() and token.isprintable() and token == token.strip()):
            raise PixelwiseError(
                "No request could bring this token; choose one of ASCII letters, digits and signs, without space at "
                "its ends."
            )
        self._token = token

    @property
    def dependencies(self) -> list[Any]:
        """For routes that take the token."""
        return [Depends(self._check)]

    def address(self, path: str) -> str:
        """Where a file below `/files` can be had without the token, as a browser's frames and pictures cannot bring it.

        The address has a ticket for this one file in it, which is no use for anything else.
        """
        return f"files/{quote(path)}" + (f"?ticket={self._ticket(path)}" if self._token else "")

    def admit(self, path: str, ticket: str) -> None:
        """Let those in who have an address from `address`.

        Raises:
            Problem: the ticket is for another file, or none.
        """
        if self._token and not hmac.compare_digest(ticket.encode(), self._ticket(path).encode()):
            raise Problem(HTTPStatus.UNAUTHORIZED, "This file's address is of another server, or not whole.")

    def _ticket(self, path: str) -> str:
        assert self._token
        return hmac.new(self._token.encode(), path.encode(), hashlib.sha256).hexdigest()

    async def _check(self, request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), (self._token or "").encode())
        if self._token and not right:
            raise Problem(HTTPStatus.UNAUTHORIZED, "Give the token that the server was started with, as a bearer.")
