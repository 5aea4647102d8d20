"""Pictures for conversations, under `/v1`: put here once, and then named in the inputs of runs."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect

from orchestrator.api.dependencies import Tenant, TheRuns
from orchestrator.api.problems import BodyTooLarge, UnsupportedMediaType, documented
from orchestrator.errors import InvalidInput
from orchestrator.images import MAX_IMAGE, MEDIA_TYPES, Image

__all__ = ["router"]

router = APIRouter(prefix="/v1")

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"The picture's bytes, {MAX_IMAGE:,} at most.",
        "content": {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES},
    }
}


async def _picture(request: Request) -> bytes:
    """A picture as it is sent.

    Raises:
        UnsupportedMediaType: it doesn't say that it is a picture of a kind that is taken.
        BodyTooLarge: it is larger than `MAX_IMAGE`; the rest isn't read.
        InvalidInput: it broke off.
    """
    media_type = _media_type(request)
    if media_type not in MEDIA_TYPES:
        raise UnsupportedMediaType(media_type, wanted=" or ".join(MEDIA_TYPES))
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > MAX_IMAGE:
                raise BodyTooLarge(MAX_IMAGE)
    except ClientDisconnect as error:
        raise InvalidInput("an image", "it broke off") from error
    return bytes(data)


def _media_type(request: Request) -> str | None:
    declared = request.headers.get("content-type")
    return None if declared is None else declared.partition(";")[0].strip().lower()


@router.post(
    "/images",
    summary="Keep an image",
    status_code=201,
    response_description="The image is kept; this names it, wherever a workflow's input has an image.",
    openapi_extra=BODY,
    responses=documented(BodyTooLarge, UnsupportedMediaType, InvalidInput),
)
async def keep_image(
    data: Annotated[bytes, Depends(_picture)], request: Request, runs: TheRuns, tenant: Tenant
) -> Image:
    """Keeps an image for the caller's tenant. The same bytes are kept once, under the same name."""
    return await runs.put_image(data, media_type=_media_type(request), tenant=tenant)
