"""Files over HTTP, in pieces both ways: what comes goes straight to the store, what goes was checked before."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from api.errors import LEASE_LOST, UNPROCESSABLE, Responses
from nas_service.artifacts import PIECE_BYTES, ArtifactStore, pieces_of
from nas_service.database import Database
from nas_service.database.artifacts import ArtifactKind, OpenArtifact
from nas_service.lifecycle.arrivals import Lessee, keep_file, place_for
from nas_service.messages import Problem

UPLOAD: Responses = LEASE_LOST | UNPROCESSABLE | {507: {"model": Problem, "description": "the store is full or broken"}}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
FILE_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": _BINARY}}


async def receive_file(
    call: Request, database: Database, store: ArtifactStore, lessee: Lessee, kind: ArtifactKind, digest: str
) -> None:
    """Take the body of an upload into the store; raises as `place_for` and `keep_file` do."""
    path = await asyncio.to_thread(place_for, database, lessee, kind)
    with await asyncio.to_thread(store.part, path) as part:
        try:
            async for piece in _pieces(call):
                await asyncio.to_thread(part.write, piece)
        except ClientDisconnect as error:
            raise HTTPException(400, f"the {kind} broke off; send it again") from error
        await asyncio.to_thread(keep_file, database, lessee, kind, part, digest)


def file_response(artifact: OpenArtifact, name: str | None = None) -> StreamingResponse:
    """Send an open file."""
    headers = {"Content-Length": str(artifact.row.size_bytes), "Content-Digest": artifact.row.digest}
    if name is not None:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return StreamingResponse(pieces_of(artifact.file), media_type="application/octet-stream", headers=headers)


async def _pieces(call: Request) -> AsyncIterator[bytes]:
    """The body as it arrives, in pieces that are worth a write."""
    held = bytearray()
    async for chunk in call.stream():
        held += chunk
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
