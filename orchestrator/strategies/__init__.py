"""Strategies: how an answer is come by, and when it is good enough.

Pure ask/tell machines; see `orchestrator.strategies.machine` for the interface.
"""

from orchestrator.strategies.machine import (
    Abort,
    Draft,
    Drafted,
    Event,
    Finish,
    Judge,
    Judged,
    Lost,
    Move,
    Room,
    State,
    Strategy,
    Trial,
    Turn,
)

__all__ = [
    "Abort",
    "Draft",
    "Drafted",
    "Event",
    "Finish",
    "Judge",
    "Judged",
    "Lost",
    "Move",
    "Room",
    "State",
    "Strategy",
    "Trial",
    "Turn",
]
