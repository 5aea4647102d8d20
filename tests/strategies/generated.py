"""Any strategy, and the worst that can come of its moves."""

from collections.abc import Sequence
from random import Random

from hypothesis import strategies as st

from orchestrator.strategies import (
    AdaptiveTree,
    Agent,
    Auto,
    Beam,
    BestOf,
    Cascade,
    ConfidentVote,
    Direct,
    Drafted,
    EarlyExit,
    Event,
    Experience,
    Judged,
    Lost,
    Revise,
    Room,
    State,
    Strategy,
    Vote,
)

__all__ = ["autos", "events_for", "rooms", "strategies", "wanted"]

counts = st.integers(1, 9)
parallel = st.integers(1, 5)
shares = st.sampled_from((0.0, 0.3, 0.5, 0.9, 0.95, 1.0))
pools = st.sampled_from((("small", "large"), ("tiny", "small", "large")))

directs = st.builds(Direct, thinking_at_most=st.none() | st.integers(50, 99), thinking_at_least=st.integers(0, 50))
votes = st.builds(
    Vote,
    at_most=counts,
    at_least=counts,
    parallel=parallel,
    confidence=st.none() | shares,
    window=st.none() | st.integers(2, 4),
)
confident_votes = st.builds(
    ConfidentVote,
    warmup=st.integers(1, 4),
    at_most=st.integers(4, 9),
    at_least=counts,
    parallel=parallel,
    keep=st.sampled_from((0.1, 0.5, 0.9, 1.0)),
    consensus=shares,
)
races = st.builds(BestOf, at_most=counts, parallel=parallel, accept=st.none() | shares)
revisions = st.builds(Revise, at_most=counts, accept=shares, from_best=st.booleans())
cascades = st.builds(
    Cascade, pools=pools, by=st.sampled_from(("judge", "likelihood")), accept=shares, at_most_each=counts
)
agreements = st.builds(Cascade, pools=pools, by=st.just("agreement"), accept=shares, at_most_each=st.integers(2, 4))
beams = st.builds(
    Beam,
    width=st.integers(1, 5),
    steps=st.integers(1, 4),
    temperature=st.sampled_from((0.01, 0.2, 9.0)),
    parallel=parallel,
)
trees = st.builds(AdaptiveTree, at_most=counts, parallel=parallel, accept=st.none() | shares, pools=st.just(()) | pools)
candidates: st.SearchStrategy[Sequence[Strategy]] = st.lists(
    st.one_of(directs, votes, confident_votes, races, revisions, cascades, beams, trees),
    unique_by=lambda candidate: candidate.label,
    max_size=4,
)
experience = st.lists(
    st.builds(
        Experience,
        strategy=st.sampled_from(("direct", "vote", "best_of", "adaptive_tree", "gone")),
        difficulty=st.sampled_from(("easy", "medium", "hard")),
        runs=st.integers(50, 60),
        passed=st.integers(0, 50),
        cost=st.decimals(0, 1, places=6),
    ),
    max_size=3,
)
autos = st.builds(
    Auto,
    pilots=st.integers(1, 4),
    candidates=candidates.map(tuple),
    enough=shares,
    judged=st.booleans(),
    experience=experience.map(tuple),
)
strategies: st.SearchStrategy[Strategy] = st.one_of(
    directs,
    st.just(Agent()),
    st.just(EarlyExit()),
    votes,
    confident_votes,
    races,
    revisions,
    cascades,
    agreements,
    beams,
    trees,
    autos,
)
rooms = st.builds(Room, drafts=st.none() | st.integers(0, 6), congestion=st.sampled_from((0.0, 0.5, 0.51, 1.0)))


def wanted(state: State) -> Sequence[int]:
    """The trials of which something is still to be told."""
    return [trial.number for trial in state.trials if trial.status in ("drafting", "judging")]


def events_for(state: State, trial: int, dice: Random) -> Event:
    """What may come of a trial, good or bad."""
    fate = dice.random()
    if fate < 0.15:
        return Lost(trial=trial)
    if state.trials[trial].status == "judging":
        score = dice.choice((0.0, 0.2, 0.2, 0.7, 1.0))
        return Judged(trial=trial, score=score, passed=dice.choice((None, None, score == 1.0)))
    measured = dice.random() < 0.7
    return Drafted(
        trial=trial,
        answer=dice.choice((None, "a", "a", "a", "b", "c")),
        whole=dice.random() < 0.8,
        likelihood=dice.random() if measured else None,
        confidence=dice.uniform(0, 20) if measured else None,
        weakest=dice.choice((0.0, dice.uniform(0, 20))) if measured else None,
        tokens=dice.randrange(1000),
    )
