"""Verifying a receipt: every seal, total and cost of a run and its descendants, computed again from the rows."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database.tables import charges
from orchestrator.errors import DamagedLedger
from orchestrator.ledger.rows import Attempt, is_engine_call, row_price, tokens_of
from orchestrator.ledger.seals import Key, head_of, key_of, line_of
from orchestrator.ledger.tree import RunTree, read_tree
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome, Usage, usd_from_nano

__all__ = ["Break", "BreakKind", "Check", "CheckName", "Verification", "verify"]


class CheckName(StrEnum):
    """What is held against the rows."""

    SEALS = "seals"
    """Every settled row of a run that has ended is as it was sealed."""
    FINGERPRINTS = "fingerprints"
    """The heads that the caller kept are in the chains."""
    SPENT = "spent"
    """What each run's account has spent is the sum of its rows and of its descendants'."""
    RESERVED = "reserved"
    """What each run's account has reserved is the sum of those rows that are open."""
    COSTS = "costs"
    """Each row's cost is its unit prices times its usage."""
    USED_ONCE = "used_once"
    """Of each step's attempts, at most one was used."""
    PARTS = "parts"
    """Cached tokens are part of the prompt's, reasoning tokens of the output's."""


class BreakKind(StrEnum):
    """How a check fails."""

    ROW_CHANGED = "row_changed"
    """A row of the seal, or the last seal itself: its head can't tell which."""
    ROW_REMOVED = "row_removed"
    ROW_ADDED = "row_added"
    """A row claims to be covered by a seal that covered fewer."""
    SEAL_CHANGED = "seal_changed"
    SEAL_MISSING = "seal_missing"
    UNSEALED = "unsealed"
    """Settled rows that no seal covers, though the run has ended."""
    UNKNOWN_FINGERPRINT = "unknown_fingerprint"
    NO_ACCOUNT = "no_account"
    TOTAL_DIFFERS = "total_differs"
    COST_DIFFERS = "cost_differs"
    USED_TWICE = "used_twice"
    PART_EXCEEDS_WHOLE = "part_exceeds_whole"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Break(_Value):
    """Something that doesn't hold."""

    kind: BreakKind
    run: str | None = None
    """Whose: its workflow id."""
    seal: int | None = None
    problem: str


class Check(_Value):
    """What was checked, and where it doesn't hold."""

    name: CheckName
    examined: int
    """Of seals, accounts, rows or steps."""
    breaks: tuple[Break, ...]

    @computed_field
    @property
    def ok(self) -> bool:
        return not self.breaks


class Verification(_Value):
    """What came of verifying a run and its descendants."""

    checks: tuple[Check, ...]

    @computed_field
    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return all(check.ok for check in self.checks)


_SPENT = ("spent_nano", "spent_tokens", "spent_gpu_us", "calls")
_RESERVED = ("reserved_nano", "reserved_tokens", "reserved_gpu_us")
_TOKENS = ("prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


@dataclass
class _Books:
    """What a pass over the rows leaves: each row's line, and sums."""

    lines: defaultdict[str, defaultdict[int, list[tuple[Key, bytes]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    """Of the rows that claim to be sealed, by run and seal."""
    unsealed: Counter[str] = field(default_factory=Counter[str])
    sums: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By run and column of its account."""
    costs: list[Break] = field(default_factory=list[Break])
    priced: int = 0
    used: Counter[tuple[str, Attempt]] = field(default_factory=Counter[tuple[str, Attempt]])
    parts: defaultdict[tuple[str, Attempt], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


async def verify(connection: AsyncConnection, run: str, *, fingerprints: Collection[str] = ()) -> Verification:
    """Computes everything again that a run's receipt says, for its descendants too.

    Wants a `Database.snapshot`, or what is settled meanwhile looks like a break.

    Args:
        fingerprints: heads of seals, kept since; each must still be in the chain of one of the runs.

    Raises:
        UnknownName: the ledger knows no such run.
        DamagedLedger: the rows are so broken that they can't be read.
    """
    tree = await read_tree(connection, run)
    books = _Books()
    try:
        rows = await connection.stream(select(charges).where(charges.c.run.in_(select(tree.ids.c.id))))
        async for row in rows:
            _enter(books, tree, row)
        return _verification(tree, books, fingerprints)
    except (TypeError, ValueError) as error:
        raise DamagedLedger(tree.runs[tree.top].workflow_id, str(error)) from error


def _enter(books: _Books, tree: RunTree, row: Any) -> None:
    if row.seal is not None:
        books.lines[row.run][row.seal].append((key_of(row), line_of(row)))
    elif row.outcome is not None:
        books.unsealed[row.run] += 1
    sums = books.sums[row.run]
    if is_engine_call(row):
        sums["calls"] += 1
    if row.outcome is None:
        sums.update({name: getattr(row, name) for name in _RESERVED})
        return
    sums.update(spent_nano=row.cost_nano or 0, spent_tokens=tokens_of(row), spent_gpu_us=row.gpu_us or 0)
    attempt = Attempt.of(row)
    parts = books.parts[row.run, attempt]
    parts.update({name: getattr(row, name) or 0 for name in _TOKENS})
    if row.entry > 0:
        return
    if row.outcome == Outcome.USED:
        books.used[row.run, _step(attempt)] += 1
    books.priced += 1
    usage = Usage.model_construct(prompt=row.prompt_tokens, cached=row.cached_tokens, output=row.output_tokens)
    if (due := row_price(row).cost(usage, row.gpu_us)) != row.cost_nano:
        books.costs.append(
            Break(
                kind=BreakKind.COST_DIFFERS,
                run=tree.runs[row.run].workflow_id,
                seal=row.seal,
                problem=f"{_named(attempt)} costs {_usd(row.cost_nano)}, and its prices and usage make {_usd(due)}",
            )
        )


def _verification(tree: RunTree, books: _Books, fingerprints: Collection[str]) -> Verification:
    sums = _rolled_up(tree, books.sums)
    checks = [_check(CheckName.SEALS, sum(map(len, tree.seals.values())), _seal_breaks(tree, books))]
    if fingerprints:
        checks.append(_check(CheckName.FINGERPRINTS, len(fingerprints), _unknown(tree, fingerprints)))
    checks += [
        _check(CheckName.SPENT, len(tree.runs), _differences(tree, sums, _SPENT)),
        _check(CheckName.RESERVED, len(tree.runs), _differences(tree, sums, _RESERVED)),
        _check(CheckName.COSTS, books.priced, books.costs),
        _check(CheckName.USED_ONCE, len({_step(attempt) for _, attempt in books.parts}), _used_twice(tree, books)),
        _check(CheckName.PARTS, len(books.parts), _parts(tree, books)),
    ]
    return Verification(checks=tuple(checks))


def _check(name: CheckName, examined: int, breaks: Iterable[Break]) -> Check:
    return Check(name=name, examined=examined, breaks=tuple(breaks))


def _seal_breaks(tree: RunTree, books: _Books) -> Iterator[Break]:
    for run, row in tree.runs.items():
        sealed = {link.number: link for link in tree.seals[run]}
        claimed = {number: [line for _, line in sorted(lines)] for number, lines in books.lines[run].items()}
        for kind, seal, problem in _chain_breaks(run, sealed, claimed):
            yield Break(kind=kind, run=row.workflow_id, seal=seal, problem=problem)
        if (count := books.unsealed[run]) and RunStatus(row.status).has_ended:
            after = f"after seal {max(sealed)}" if sealed else "and the run was never sealed"
            problem = f"{_rows(count)} came {after}" if sealed else f"{_rows(count)} settled, {after}"
            yield Break(kind=BreakKind.UNSEALED, run=row.workflow_id, problem=problem)


def _chain_breaks(
    run: str, sealed: Mapping[int, Any], claimed: Mapping[int, Sequence[bytes]]
) -> Iterator[tuple[BreakKind, int, str]]:
    """Follows the chain. Where a link breaks, the next ones are still held against what was sealed before them."""
    before: str | None = None
    last = 0
    for number in sorted(sealed.keys() | claimed.keys()):
        lines = claimed.get(number, ())
        head = head_of(run, number, before, lines)
        link = sealed.get(number)
        if link is None:
            yield BreakKind.SEAL_MISSING, number, f"{_rows(len(lines))} claim to be of a seal that isn't there"
            before, last = head, number
            continue
        if link.number != last + 1:
            yield BreakKind.SEAL_MISSING, last + 1, f"the seals go on from {last} to {number}"
        after = sealed.get(number + 1)
        confirmed = after is not None and after.head == head_of(run, number + 1, head, claimed.get(number + 1, ()))
        if link.head == head and link.rows == len(lines):
            confirmed = False
        elif link.head == head or confirmed:
            yield BreakKind.SEAL_CHANGED, number, "the rows are as they were sealed, and the seal itself isn't"
        elif len(lines) < link.rows:
            yield BreakKind.ROW_REMOVED, number, f"it covered {_rows(link.rows)}, and {len(lines)} are left"
        elif len(lines) > link.rows:
            yield BreakKind.ROW_ADDED, number, f"it covered {_rows(link.rows)}, and {len(lines)} claim to be among them"
        else:
            what = "one of them isn't" if after is not None else "one of them or the seal itself isn't"
            yield BreakKind.ROW_CHANGED, number, f"it covers {_rows(link.rows)}, and {what} as it was sealed"
        before, last = head if confirmed else link.head, number


def _unknown(tree: RunTree, fingerprints: Collection[str]) -> Iterator[Break]:
    heads = {link.head for links in tree.seals.values() for link in links}
    for head in fingerprints:
        if head not in heads:
            yield Break(
                kind=BreakKind.UNKNOWN_FINGERPRINT,
                problem=f"no seal has the head {head}: the chain it was part of is gone, or was written anew",
            )


def _rolled_up(tree: RunTree, own: Mapping[str, Counter[str]]) -> Mapping[str, Counter[str]]:
    """Each run's sums with those of its descendants."""
    sums = {run: Counter(own.get(run, {})) for run in tree.runs}
    for run in tree.bottom_up:
        for child in tree.children[run]:
            sums[run].update(sums[child])
    return sums


def _differences(tree: RunTree, sums: Mapping[str, Counter[str]], columns: Sequence[str]) -> Iterator[Break]:
    for run, row in tree.runs.items():
        account = tree.accounts.get(run)
        if account is None:
            yield Break(kind=BreakKind.NO_ACCOUNT, run=row.workflow_id, problem="it has no account")
            continue
        for name in columns:
            if (said := getattr(account, name)) != (due := sums[run][name]):
                problem = f"its account says {_amount(name, said)}, and the rows add up to {_amount(name, due)}"
                yield Break(kind=BreakKind.TOTAL_DIFFERS, run=row.workflow_id, problem=problem)


def _used_twice(tree: RunTree, books: _Books) -> Iterator[Break]:
    for (run, step), times in books.used.items():
        if times > 1:
            problem = f"{_named(step)}: {times} attempts are marked as used"
            yield Break(kind=BreakKind.USED_TWICE, run=tree.runs[run].workflow_id, problem=problem)


def _parts(tree: RunTree, books: _Books) -> Iterator[Break]:
    for (run, attempt), sums in books.parts.items():
        for part, whole in (("cached", "prompt"), ("reasoning", "output")):
            if (few := sums[f"{part}_tokens"]) > (many := sums[f"{whole}_tokens"]):
                problem = f"{_named(attempt)} has {few:,} {part} tokens, and {many:,} {whole} tokens in all"
                yield Break(kind=BreakKind.PART_EXCEEDS_WHOLE, run=tree.runs[run].workflow_id, problem=problem)


def _step(attempt: Attempt) -> Attempt:
    """The logical call that attempts are of."""
    return Attempt(
        workflow_id=attempt.workflow_id,
        run_id=attempt.run_id,
        activity_id=attempt.activity_id,
        attempt=0,
        call=attempt.call,
    )


def _named(attempt: Attempt) -> str:
    which = f"step {attempt.activity_id} of execution {attempt.run_id}"
    which += f", attempt {attempt.attempt}" if attempt.attempt else ""
    return f"{which}, call {attempt.call}" if attempt.call else which


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _usd(nano: int | None) -> str:
    return "nothing" if nano is None else f"${usd_from_nano(nano):f}"


def _amount(column: str, amount: int) -> str:
    verb, _, unit = column.rpartition("_")
    if unit == "nano":
        return f"{_usd(amount)} {verb}"
    if unit == "us":
        return f"{amount:,} µs of GPU time {verb.removesuffix('_gpu')}"
    return f"{amount:,} {unit}" + (f" {verb}" if verb else "")
