"""What the workflow `extract` is asked, and what it says."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.json_schema import SkipJsonSchema

from orchestrator import Receipt
from orchestrator_workflows.shapes import Kind, schema_of, shape_of

__all__ = ["Extracted", "Extraction", "Failed", "Item", "Rest", "SoFar", "Text", "size"]

MOST_TEXT = 500_000
"""Bytes of JSON that `texts` may have."""
MOST_TOKENS = 100_000
"""That may be being written at a time."""

Name = Annotated[str, Field(min_length=1, max_length=1024)]


class Text(BaseModel):
    """A document, given as it is."""

    name: Name
    text: str


class Item(BaseModel):
    """What one document says."""

    document: str
    value: JsonValue


class Failed(BaseModel):
    """A document that nothing could be extracted from."""

    document: str
    problem: str


class Rest(BaseModel):
    """What is left to do. Another run that is given it goes on there."""

    documents: list[str] = []
    """These first,"""
    after: str | None = ""
    """then the collection's documents behind this name; `None`: no others."""


class SoFar(BaseModel):
    """What the runs before this one of the same chain have come to."""

    documents: int = 0
    items: list[Item] = []
    failed: list[Failed] = []


class Extraction(BaseModel):
    """What to extract, and from which documents."""

    model_config = ConfigDict(extra="forbid")

    collection: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    texts: Annotated[list[Text], Field(min_length=1, max_length=10_000)] | None = None
    """In place of a collection."""
    fields: Annotated[dict[Name, Kind], Field(min_length=1, max_length=100)] | None = None
    """Names and kinds, as in `{"vendor": "string", "total": "number"}`; each may come out as null."""
    schema_: Annotated[dict[str, JsonValue] | None, Field(alias="schema")] = None
    """In place of fields: the JSON Schema of an object."""
    instructions: Annotated[str, Field(max_length=8000)] = ""
    """What else the model should know."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Documents at most."""
    parallel: Annotated[int, Field(ge=1, le=64)] = 4
    """Documents at a time."""
    every: Annotated[int, Field(ge=1, le=200)] = 50
    """Documents after which it goes on as a new run, so that no history grows large."""
    max_tokens: Annotated[int, Field(ge=16, le=8192)] = 512
    """Of what is extracted from one document."""
    max_characters: Annotated[int, Field(ge=1, le=200_000)] = 24_000
    """Of one document. A longer one fails: what would be cut off may be what is wanted."""
    rest: Rest = Rest()
    so_far: SkipJsonSchema[SoFar] = SoFar()
    """The workflow's own."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.collection is None) is (self.texts is None):
            raise ValueError("give a collection, or texts")
        if (self.fields is None) is (self.schema_ is None):
            raise ValueError("give fields, or a schema")
        if (tokens := self.parallel * self.max_tokens) > MOST_TOKENS:
            raise ValueError(f"parallel times max_tokens is {tokens:,}, more than {MOST_TOKENS:,}")
        texts = self.texts or []
        if len({text.name for text in texts}) < len(texts):
            raise ValueError("texts: each needs a name of its own")
        if (total := sum(map(size, texts))) > MOST_TEXT:
            raise ValueError(f"texts: {total:,} bytes, more than {MOST_TEXT:,}; put them into a collection")
        self.shape  # noqa: B018 - it is refused here, if it can't be made
        return self

    @property
    def shape(self) -> Any:
        """The type of what is extracted."""
        schema = schema_of(self.fields) if self.fields is not None else self.schema_
        assert schema is not None
        if schema.get("type") != "object":
            raise ValueError("schema: its type must be 'object'")
        return shape_of(schema)


class Extracted(BaseModel):
    """What the documents say, and what became of the others."""

    items: list[Item]
    failed: list[Failed]
    documents: int
    """That were tried."""
    stopped: str | None
    """Why it ended before all was done; `None` if all was."""
    rest: Rest | None
    """What is left; another run that is given it as its `rest` goes on there."""
    receipt: Receipt
    """Of all runs of the chain."""


def size(part: BaseModel) -> int:
    """Bytes of JSON."""
    return len(part.model_dump_json().encode())
