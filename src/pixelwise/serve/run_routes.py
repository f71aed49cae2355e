"""The routes for training runs and reports: `/v1/runs`, `/v1/run`, and their pages and pictures below `/files`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from pixelwise.serve.guard import Guard
from pixelwise.serve.problems import PROBLEM, Problem
from pixelwise.serve.runs import Runs

_POLICY = "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
_POLICY += "script-src 'unsafe-inline'; frame-ancestors 'self'"
"""What a report may do: run its own scripts, as a stranger to this server, and load nothing."""


def run_routes(runs: Runs | None, guard: Guard) -> APIRouter:
    """The routes; without runs, there are none to be told of."""
    router = APIRouter(tags=["runs"])

    @router.get("/v1/runs", dependencies=guard.dependencies, responses={401: PROBLEM})
    async def listed() -> dict[str, Any]:
        """Training runs and reports in the directory that the server shows, if it shows one; the latest first."""
        if runs is None:
            return {"directory": None, "runs": [], "reports": []}
        found, reports = await anyio.to_thread.run_sync(lambda: (runs.runs(), runs.reports()))
        told = [{**each, "address": guard.address(each["path"])} for each in reports]
        name = runs.root.name.encode(errors="replace").decode()  # it need not be UTF-8
        return {"directory": name, "runs": found, "reports": told}

    @router.get("/v1/run", dependencies=guard.dependencies, responses=dict.fromkeys((401, 404, 422), PROBLEM))
    async def one(name: Annotated[str, Query(description="As in /v1/runs.")]) -> dict[str, Any]:
        """A training run: how far it is, its curves' points, and where its pictures and its report are."""
        found = None if runs is None else await anyio.to_thread.run_sync(runs.run, name)
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"There is no run {name[:80]!r}; see /v1/runs.")
        pictures = [{**each, "address": guard.address(each["path"])} for each in found["pictures"]]
        return {**found, "pictures": pictures, "report": found["report"] and guard.address(found["report"])}

    @router.get("/files/{path:path}", include_in_schema=False)
    async def file(path: str, ticket: str = "") -> FileResponse:
        guard.admit(path, ticket)
        found = None if runs is None else await anyio.to_thread.run_sync(runs.file, path)
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, "There is no such page or picture.")
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
        return FileResponse(found, headers=headers)

    return router
