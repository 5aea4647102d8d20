"""Shows how the parts come up: a spinner for each on a terminal, else one plain line for each change."""

from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from orchestrator.local.report import PartState

__all__ = ["Progress"]

MARKS: Mapping[PartState, Text] = {
    "ready": Text("✔", style="green"),
    "failed": Text("✘", style="red"),
    "stopped": Text("·", style="dim"),
}


class Progress:
    """A `Report`. The display is live as long as any part is starting; what is printed later has the screen alone."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._rows: dict[str, _Row] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._finish()

    def __call__(self, part: str, state: PartState, detail: str) -> None:
        row = self._rows.get(part)
        if row is None:
            row = self._rows[part] = _Row(part)
        # The caller prints the whole error once; a row has room for its beginning.
        row.change(state, detail.partition("\n")[0])
        if not self._console.is_terminal or (self._live is None and state != "starting"):
            self._console.print(row.line(), soft_wrap=True)
        elif self._live is None:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=10)
            self._live.start()
        elif not any(row.state == "starting" for row in self._rows.values()):
            self._finish()

    def _finish(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column()
        table.add_column(style="bold")
        table.add_column(justify="right", style="dim")
        table.add_column(overflow="ellipsis", no_wrap=True)
        for row in self._rows.values():
            table.add_row(*row.cells())
        return table


class _Row:
    def __init__(self, part: str) -> None:
        self._part = part
        self._spinner = Spinner("dots")
        self._since = monotonic()
        self._took: float | None = None
        self._detail = ""
        self.state: PartState = "starting"

    def change(self, state: PartState, detail: str) -> None:
        if state == "starting" and self.state != "starting":
            self._since, self._took = monotonic(), None
        if state != "starting" and self._took is None:
            self._took = monotonic() - self._since
        self.state, self._detail = state, detail

    def cells(self) -> tuple[RenderableType, str, str, str]:
        elapsed = monotonic() - self._since if self._took is None else self._took
        return MARKS.get(self.state, self._spinner), self._part, f"{elapsed:.1f} s", escape(self._detail)

    def line(self) -> Text:
        took = f" after {self._took:.1f} s" if self._took is not None and self.state == "ready" else ""
        return Text(f"{self._part}: {self.state}{took}" + (f" ({self._detail})" if self._detail else ""))
