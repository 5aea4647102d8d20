"""Pictures as messages hold them: by what names them, never their bytes.

Pure; imports nothing that does I/O. Bytes are put into the transcript store where they arrive (`ToolContext.put_image`
in a tool, `POST /v1/images` at the API), so that none of them ever stands in a workflow's history.
"""

import hashlib
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.errors import InvalidInput

__all__ = ["MAX_IMAGE", "MEDIA_TYPES", "Image", "MediaType"]

MediaType = Literal["image/png", "image/jpeg", "image/webp", "image/gif"]

MEDIA_TYPES: tuple[MediaType, ...] = ("image/png", "image/jpeg", "image/webp", "image/gif")

MAX_IMAGE = 10 * 1024 * 1024
"""Bytes of one picture."""

LONGEST_URL = 2_048


class Image(BaseModel):
    """A picture for the model: one that the transcript store keeps, or one that the engine itself fetches from a URL.

    A value like any other: it may be a workflow's input, a tool's result, or part of either.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    blob: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of its bytes, in hex; `None` of one that has a URL."""
    size: int | None = Field(default=None, gt=0)
    """Bytes."""
    media_type: MediaType | None = None
    url: str | None = None
    """Begins with `https://`. Nobody but the engine fetches it, and only where the operator has allowed that."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        kept = [self.blob, self.size, self.media_type]
        if self.url is None and None in kept:
            raise ValueError("it has neither a url nor blob, size and media_type")
        if self.url is not None and kept != [None, None, None]:
            raise ValueError("it has both a url and what names a picture in the store")
        if self.url is not None and (problem := _problem_of(self.url)) is not None:
            raise ValueError(problem)
        return self

    @classmethod
    def from_url(cls, url: str) -> "Image":
        """A picture that the engine fetches, each time that it sees the conversation anew.

        What stands at a URL can change, and the engine fetches it from inside its own network: so the operator has to
        allow it (`ORCHESTRATOR_ENGINE__IMAGE_URLS`), and a picture in the store is to be preferred.

        Raises:
            InvalidInput: it isn't an `https://` URL, or it holds a password.
        """
        if (problem := _problem_of(url)) is not None:
            raise InvalidInput("an image", problem)
        return cls(url=url)

    @classmethod
    def of(cls, data: bytes, media_type: str | None = None) -> "Image":
        """What names a picture's bytes; they themselves are kept elsewhere.

        Args:
            media_type: what they are said to be; by default whatever they are.

        Raises:
            InvalidInput: they are no picture of a kind that is taken, not of the kind that they are said to be, or
                too many.
        """
        if len(data) > MAX_IMAGE:
            raise InvalidInput("an image", f"it has {len(data):,} bytes, and may have {MAX_IMAGE:,}")
        found = _media_type_of(data)
        if found is None:
            raise InvalidInput("an image", f"its bytes are none of {', '.join(MEDIA_TYPES)}")
        if media_type is not None and media_type != found:
            raise InvalidInput("an image", f"it is said to be {media_type}, and its bytes are {found}")
        return cls(blob=hashlib.sha256(data).hexdigest(), size=len(data), media_type=found)


def _media_type_of(data: bytes) -> MediaType | None:
    """By the bytes that a file of each kind begins with."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _problem_of(url: str) -> str | None:
    if len(url) > LONGEST_URL or any(letter.isspace() or not letter.isprintable() for letter in url):
        return f"its url has more than {LONGEST_URL:,} characters, or some that no url has"
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        return f"its url can't be read ({error})"
    if parts.scheme != "https" or not host:
        return f"its url {url[:80]!r} doesn't begin with https:// and a host"
    return "its url holds a user name or password" if parts.username is not None else None
