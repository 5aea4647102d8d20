"""Strategies: how an answer is come by, and when it is good enough.

Pure ask/tell machines; see `orchestrator.strategies.machine` for the interface.
"""

from orchestrator.strategies.adaptive_tree import AdaptiveTree
from orchestrator.strategies.agent import Agent
from orchestrator.strategies.auto import Auto
from orchestrator.strategies.beam import Beam
from orchestrator.strategies.best_of import BestOf
from orchestrator.strategies.cascade import Cascade
from orchestrator.strategies.catalogue import STRATEGIES, AnyStrategy, strategy_from
from orchestrator.strategies.confident_vote import ConfidentVote
from orchestrator.strategies.direct import Direct
from orchestrator.strategies.early_exit import EarlyExit
from orchestrator.strategies.expected import Difficulty, Experience
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
from orchestrator.strategies.revise import Revise
from orchestrator.strategies.vote import Vote

__all__ = [
    "STRATEGIES",
    "Abort",
    "AdaptiveTree",
    "Agent",
    "AnyStrategy",
    "Auto",
    "Beam",
    "BestOf",
    "Cascade",
    "ConfidentVote",
    "Difficulty",
    "Direct",
    "Draft",
    "Drafted",
    "EarlyExit",
    "Event",
    "Experience",
    "Finish",
    "Judge",
    "Judged",
    "Lost",
    "Move",
    "Revise",
    "Room",
    "State",
    "Strategy",
    "Trial",
    "Turn",
    "Vote",
    "strategy_from",
]
