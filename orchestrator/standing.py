"""How a run stands, as Temporal shows it: what it waits for, for how long it did, and what it has done.

Deterministic.
"""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey

__all__ = ["PERSON", "WAITING", "Standing"]

WAITING = SearchAttributeKey.for_keyword("Waiting")
"""What a run waits for; empty while it goes on. Labels only: search attributes are kept in plain text."""

PERSON = "person"
"""How `Waiting` begins where a person is asked."""

LONGEST = 255
"""Characters of a search attribute that every store of Temporal takes."""
NOTES_SHOWN = 10


class Standing:
    """What a run shows of itself."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._shown: str | None = None
        self._progress = ""
        self._waited = timedelta(0)
        self._waits_since: datetime | None = None

    def waits(self, key: str, label: str, note: str) -> None:
        """The run, or a branch of it, begins to wait.

        Args:
            key: names the wait, for its end.
            label: stands in the search attribute.
            note: says it in full, in Markdown.
        """
        if self._waits_since is None:
            self._waits_since = workflow.now()
        self._labels[key], self._notes[key] = label, note
        self._show()

    def goes_on(self, key: str) -> None:
        """That wait is over."""
        del self._labels[key], self._notes[key]
        if not self._labels and self._waits_since is not None:
            self._waited += workflow.now() - self._waits_since
            self._waits_since = None
        self._show()

    def progressed(self, details: str) -> None:
        """What the run has done so far, in Markdown."""
        self._progress = details
        self._show()

    @property
    def waited(self) -> timedelta:
        """How long the run has waited, the present wait included; waits of several branches at once count once."""
        since = self._waits_since
        return self._waited if since is None else self._waited + (workflow.now() - since)

    def _show(self) -> None:
        notes = list(self._notes.values())
        more = [f"and {len(notes) - NOTES_SHOWN} more"] if len(notes) > NOTES_SHOWN else []
        workflow.set_current_details("\n\n".join([*notes[:NOTES_SHOWN], *more, self._progress]).strip())
        # People first, so that runs that ask someone are found by how the value begins.
        labels = sorted(dict.fromkeys(self._labels.values()), key=lambda label: not label.startswith(PERSON))
        shown = ", ".join(labels)[:LONGEST] or None
        if shown == self._shown:
            return
        self._shown = shown
        change = WAITING.value_unset() if shown is None else WAITING.value_set(shown)
        workflow.upsert_search_attributes([change])  # pyright: ignore[reportUnknownMemberType]
