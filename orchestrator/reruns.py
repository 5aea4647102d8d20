"""Runs that are started again with the input of an earlier one, and answered from its record.

Pure; imports nothing that does I/O. The engine thinks anew; tools, retrieval and people aren't asked again: what they
said to the original is on its record, and is found there by what was asked, in the order in which it was asked.
"""

import hashlib
import json
from collections import defaultdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic_core import PydanticSerializationError, to_json

from orchestrator.approvals import Effect
from orchestrator.errors import InvalidInput
from orchestrator.tool import Tool
from orchestrator.toolservers import ToolListing

__all__ = [
    "RERUN",
    "Answer",
    "Record",
    "RecordedFailure",
    "RecordedStep",
    "Rerun",
    "Tally",
    "question_key",
    "rerun_name",
    "retrieval_key",
    "tool_key",
]

RERUN = "backtest/"
"""Begins the name that the ledger has for a rerun's workflow, so that no report mixes it with runs made in earnest."""


def rerun_name(workflow: str) -> str:
    """A workflow's name, as the ledger has it for reruns."""
    return f"{RERUN}{workflow}"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class RecordedFailure(_Value):
    """How a step of the original failed, as Temporal knows it."""

    type: str
    message: str
    details: JsonValue = None


class RecordedStep(_Value):
    """A step of the original, by which the ledger finds what it returned."""

    workflow_id: str
    run_id: str
    activity_id: str
    nano: int = 0
    """What it cost then, all attempts together."""
    failure: RecordedFailure | None = None
    """How it failed, where it did."""


class Answer(_Value):
    """What is on record for a question."""

    key: str
    """Of what was asked; see `tool_key`."""
    place: str = ""
    """Which of the original's runs asked: empty for itself, `/0` for the first run that it started, `/0/2`, ..."""
    step: RecordedStep | None = None
    """The step that was answered."""
    said: JsonValue = None
    """What a person answered; `step` is `None` then."""
    silent: bool = False
    """Whether the person didn't answer in time."""


class Tally(_Value):
    """What a rerun asked for, and where it was answered."""

    answered: int = 0
    """From the record."""
    live: int = 0
    """Reads that weren't on the record, and were allowed to be made."""
    off_record: tuple[str, ...] = ()
    """Names of tools and collections of which something was asked that isn't on the record."""
    nano: int = 0
    """What the recorded answers cost when they were given."""
    strategies: int = 0
    """How often thinking took the strategy of the variant in place of its own."""


class Rerun(_Value):
    """What a rerun is told; travels in its header."""

    of: str
    """The original's workflow id."""
    backtest: str
    """Names the backtest."""
    answers: tuple[Answer, ...] = ()
    listings: dict[str, ToolListing] = {}
    """What tool servers offered to the original."""
    live_reads: bool = False
    """Whether reads that aren't on the record may be made."""
    pool: str | None = None
    """The engines that think for it, in place of the workflow's own."""
    strategy: JsonValue = None
    """How it thinks, in place of what its code says: a strategy as JSON."""
    place: str = ""
    """Which of the original's runs it stands for."""
    taken: dict[str, int] = {}
    """How many answers to each question it has had already, where it goes on for another run."""
    children: int = 0
    """How many runs it has started already."""
    tally: Tally = Tally()


class Record:
    """The record of the original, as one rerun goes through it."""

    def __init__(self, rerun: Rerun) -> None:
        self.rerun = rerun
        self._taken = dict(rerun.taken)
        self._children = rerun.children
        self._tally = rerun.tally
        self._here: dict[str, list[Answer]] = defaultdict(list)
        self._anywhere: dict[str, list[Answer]] = defaultdict(list)
        for answer in rerun.answers:
            self._anywhere[answer.key].append(answer)
            if answer.place == rerun.place:
                self._here[answer.key].append(answer)

    @property
    def tally(self) -> Tally:
        """What was asked so far."""
        return self._tally

    def has(self, key: str) -> bool:
        """Whether the next question of this kind is answered by a step on record."""
        return key in self._anywhere

    def find(self, key: str, name: str, effect: Effect) -> "RecordedStep | Literal['live', 'off_record']":
        """The step that answers: of the same questions, the next one asked.

        Asked more often than the original asked it, it has its last answer again, as calling once more would have
        changed nothing. A write that the original never made is off the record; a read too, where it may not be made.
        """
        known = self._here.get(key) or self._anywhere.get(key) or []
        number = self._taken.get(key, 0)
        again = number >= len(known)
        if known and not (again and effect == "write"):
            step = known[min(number, len(known) - 1)].step
            assert step is not None
            self._taken[key] = number + 1
            self._count(answered=1, nano=step.nano)
            return step
        if effect == "read" and self.rerun.live_reads:
            self._count(live=1)
            return "live"
        self._count(off_record=name)
        return "off_record"

    def said(self, key: str, name: str) -> Answer | None:
        """What a person answered to this question, the next time that it is asked; `None` where nobody was asked."""
        known = self._here.get(key) or self._anywhere.get(key) or []
        number = self._taken.get(key, 0)
        if number >= len(known):
            self._count(off_record=name)
            return None
        self._taken[key] = number + 1
        self._count(answered=1)
        return known[number]

    def strategy(self) -> JsonValue:
        """The strategy to think by, as JSON; `None` where the code's own holds. Each asking is counted."""
        if self.rerun.strategy is not None:
            self._tally = self._tally.model_copy(update={"strategies": self._tally.strategies + 1})
        return self.rerun.strategy

    def for_child(self) -> Rerun:
        """What the next run that this one starts is told."""
        number, self._children = self._children, self._children + 1
        at_its_start = Rerun(of=self.rerun.of, backtest=self.rerun.backtest)
        return self.rerun.model_copy(
            update={
                "place": f"{self.rerun.place}/{number}",
                "taken": at_its_start.taken,
                "children": at_its_start.children,
                "tally": at_its_start.tally,
            }
        )

    def going_on(self) -> Rerun:
        """What the run that goes on for this one is told."""
        return self.rerun.model_copy(update={"taken": self._taken, "children": self._children, "tally": self._tally})

    def _count(self, *, answered: int = 0, live: int = 0, off_record: str | None = None, nano: int = 0) -> None:
        tally = self._tally
        missed = tally.off_record if off_record is None else (*tally.off_record, off_record)
        self._tally = tally.model_copy(
            update={
                "answered": tally.answered + answered,
                "live": tally.live + live,
                "off_record": missed,
                "nano": tally.nano + nano,
            }
        )


def tool_key(name: str, arguments: str, tool: Tool[..., Any] | None) -> str:
    """Names a call by what it asks: spelling, order and defaults of the arguments make no difference.

    Args:
        arguments: JSON text.
        tool: the tool as it is now, whose defaults are filled in; `None` where there is none of that name any more.
    """
    return _key("tool", name, _normal(arguments, tool))


def retrieval_key(collection: str, query: str, k: int) -> str:
    """Names a retrieval by what it asks."""
    return _key("retrieve", collection, [query, k])


def question_key(text: str, tool: str | None, arguments: str | None) -> str:
    """Names a question to a person by what it asks."""
    return _key("question", text, [tool, arguments])


def _normal(arguments: str, tool: Tool[..., Any] | None) -> Any:
    if tool is not None:
        try:
            return json.loads(to_json(tool.parse(arguments)))
        except (InvalidInput, PydanticSerializationError, ValueError):
            pass  # it never got further than this, then either: the text itself is what was asked
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def _key(*asked: Any) -> str:
    canonical = json.dumps(asked, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:24]
