"""Moments and periods as people write them: `2026-03-01`, `2026-03-01T12:00+02:00`, `7d`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.database import now
from orchestrator.errors import InvalidPeriod

__all__ = ["EVER", "Timeframe", "at_unix_us", "moment", "timeframe", "unix_us"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_AGO = re.compile(r"(\d{1,6})\s*(m|h|d|w)")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True, kw_only=True)
class Timeframe:
    """From `since` on, up to `until`, which is not in it; `None` is no bound. Both in UTC."""

    since: datetime | None = None
    until: datetime | None = None


EVER = Timeframe()


def moment(text: str, *, what: str, present: datetime | None = None) -> datetime:
    """The moment that a text means: a date (its midnight), an ISO 8601 time, or so long ago; in UTC where it says none.

    Args:
        what: names the text in the error.

    Raises:
        InvalidPeriod: it is none of these.
    """
    present = present or now()
    try:
        if (ago := _AGO.fullmatch(text.strip().lower())) is not None:
            return present - int(ago[1]) * _UNITS[ago[2]]
        read = datetime.fromisoformat(text.strip())
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidPeriod(
            what,
            f"is {text!r}, no moment: write a date (2026-03-01), a time (2026-03-01T12:00Z), "
            "or how long ago (7d, 24h, 30m, 2w)",
        ) from error


def timeframe(since: str | None, until: str | None) -> Timeframe:
    """What lies between two texts.

    Raises:
        InvalidPeriod: one can't be read, or there is nothing between them.
    """
    present = now()
    begin = None if since is None else moment(since, what="since", present=present)
    end = None if until is None else moment(until, what="until", present=present)
    if begin is not None and end is not None and end <= begin:
        raise InvalidPeriod("until", f"is {end.isoformat()}, not after since, which is {begin.isoformat()}")
    return Timeframe(since=begin, until=end)


def at_unix_us(us: int) -> datetime:
    """The moment of so many microseconds of Unix time."""
    return EPOCH + timedelta(microseconds=us)


def unix_us(at: datetime) -> int:
    """Microseconds of Unix time."""
    return (at - EPOCH) // timedelta(microseconds=1)
