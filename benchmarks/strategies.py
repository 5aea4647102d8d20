"""What strategies cost and how often they are right, in a simulation: the same luck for all.

`python -m benchmarks.strategies [--json] [--picture FILE]`. Problems, answers and confidences are drawn from known
distributions, see `benchmarks.answer_distributions`. The puzzles of the game of 24 and their check are real, and what
proposes answers is scripted, see `benchmarks.game_of_24`. No model is measured here: what is compared is what the
strategies make of the same replies. Intervals are of 95 %, by resampling the problems.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.answer_distributions import KINDS, LARGE, PRICES, SMALL, Problem, problems
from benchmarks.curves import Curve, Panel, Point, picture
from benchmarks.game_of_24 import Puzzle, puzzles
from benchmarks.simulated_thinking import Outcome, Reply, World, think
from orchestrator.strategies import (
    AdaptiveTree,
    Auto,
    BestOf,
    Cascade,
    ConfidentVote,
    Direct,
    Draft,
    Revise,
    Strategy,
    Vote,
)

Outcomes = Sequence[Outcome]
Interval = tuple[float, float, float]
"""A figure, and the ends of its interval."""

SIZES = (1, 2, 4, 8, 16)
"""Of votes."""
BUDGETS = (4, 8, 16, 32)
"""Drafts for a puzzle; the headline's is 16."""
RESAMPLES = 1000

FIXED = "fixed vote of 16"
VOTE = "Vote(at_most=16)"
CONFIDENT = "ConfidentVote(at_most=16)"
CASCADE = "Cascade, 2 small that agree"
STRONG = "large model alone"


@dataclass(frozen=True)
class Asked:
    """A problem as a task; this model answers where a draft names no other."""

    problem: Problem
    model: str = SMALL

    def reply(self, draft: Draft, number: int, revised: str | None) -> Reply:
        """As an engine and the watch beside it would make of it."""
        model = draft.pool or self.model
        sample = self.problem.sample(model, number)
        answer: str | None = sample.answer
        tokens, weakest = sample.tokens, None
        if draft.watch is not None and draft.watch.kind == "confidence_floor":
            weakest = min(sample.groups(draft.watch.window), default=None)
            cut = sample.cut_at(draft.watch.least, draft.watch.window)
            if cut is not None:
                answer, tokens = None, cut
        return Reply(
            answer=answer,
            tokens=tokens,
            price=PRICES[model],
            whole=answer is not None,
            likelihood=sample.likelihood,
            weakest=weakest,
        )

    def score(self, answer: str) -> float:
        return float(self.problem.accepts(answer))


@dataclass(frozen=True)
class Dealt:
    """A puzzle as a task."""

    puzzle: Puzzle
    number: int

    def reply(self, draft: Draft, number: int, revised: str | None) -> Reply:
        """Every draft counts as one token."""
        dice = Random(f"{self.number}/{number}")
        return Reply(answer=self.puzzle.propose(dice, revised), tokens=1)

    def score(self, answer: str) -> float:
        return self.puzzle.score(answer)


@dataclass(frozen=True)
class Measured:
    """A strategy, and what came of it on each task."""

    name: str
    outcomes: Outcomes

    @property
    def accuracy(self) -> float:
        return fmean(outcome.right for outcome in self.outcomes)

    @property
    def tokens(self) -> float:
        return fmean(outcome.tokens for outcome in self.outcomes)

    @property
    def cost(self) -> float:
        return fmean(outcome.cost for outcome in self.outcomes)

    @property
    def drafts(self) -> float:
        return fmean(outcome.drafts for outcome in self.outcomes)


def measured(name: str, strategy: Strategy, worlds: Sequence[World]) -> Measured:
    """Lets a strategy answer all tasks."""
    return Measured(name, [think(strategy, world, seed=seed) for seed, world in enumerate(worlds)])


@dataclass(frozen=True)
class Totals:
    """Of a strategy, over some tasks."""

    tasks: int
    right: int
    tokens: int
    cost: int

    @property
    def accuracy(self) -> float:
        return self.right / self.tasks


Figure = Callable[[Sequence[Totals]], float]


def figure_of(figure: Figure, compared: Sequence[Outcomes]) -> float:
    """A figure of strategies on the same tasks."""
    return figure([_totals(outcomes)(range(len(outcomes))) for outcomes in compared])


def interval(figure: Figure, *compared: Measured, seed: int = 7) -> Interval:
    """A figure of strategies on the same tasks, with its interval."""
    dice, tasks = Random(seed), range(len(compared[0].outcomes))
    totals = [_totals(each.outcomes) for each in compared]
    drawn = list[float]()
    for _ in range(RESAMPLES):
        places = dice.choices(tasks, k=len(tasks))
        drawn.append(figure([total(places) for total in totals]))
    drawn.sort()
    whole = figure([total(tasks) for total in totals])
    return whole, drawn[round(0.025 * RESAMPLES)], drawn[round(0.975 * RESAMPLES) - 1]


def _totals(outcomes: Outcomes) -> Callable[[Sequence[int]], Totals]:
    """Sums over the tasks at some places, each as often as it is among them."""
    right = [int(outcome.right) for outcome in outcomes]
    tokens = [outcome.tokens for outcome in outcomes]
    cost = [outcome.cost for outcome in outcomes]

    def at(places: Sequence[int]) -> Totals:
        sums = (sum(map(values.__getitem__, places)) for values in (right, tokens, cost))
        return Totals(len(places), *sums)

    return at


def accuracy(compared: Sequence[Totals]) -> float:
    return compared[0].accuracy


def token_ratio(compared: Sequence[Totals]) -> float:
    """Tokens of the first over those of the second."""
    return compared[0].tokens / compared[1].tokens


def cost_ratio(compared: Sequence[Totals]) -> float:
    """How many times as much as the first the second costs."""
    return compared[1].cost / compared[0].cost


def points_lost(compared: Sequence[Totals]) -> float:
    """Percentage points of accuracy that the first has less than the second."""
    return 100 * (compared[1].accuracy - compared[0].accuracy)


def points_gained(compared: Sequence[Totals]) -> float:
    return -points_lost(compared)


def measure_answers(count: int, seed: int) -> Mapping[str, Measured]:
    """Strategies on problems of mixed difficulty."""
    given = problems(count, seed)
    small = [Asked(problem) for problem in given]
    large = [Asked(problem, LARGE) for problem in given]
    two = Cascade(pools=(SMALL, LARGE), by="agreement", at_most_each=2, accept=1.0)
    three = two.model_copy(update={"at_most_each": 3})
    ways: Mapping[str, tuple[Strategy, Sequence[World]]] = {
        "small model alone": (Direct(), small),
        FIXED: (Vote(at_most=16, confidence=None, parallel=16), small),
        VOTE: (Vote(at_most=16), small),
        CONFIDENT: (ConfidentVote(at_most=16), small),
        "Auto()": (Auto(), small),
        STRONG: (Direct(), large),
        CASCADE: (two, small),
        "Cascade, 3 small that agree": (three, small),
        "Cascade, by likelihood": (Cascade(pools=(SMALL, LARGE)), small),
        "BestOf(), exact check": (BestOf(), small),
        "Auto(), exact check": (Auto().informed(judged=True), small),
    }
    return {name: measured(name, strategy, worlds) for name, (strategy, worlds) in ways.items()}


def measure_sizes(count: int, seed: int) -> Mapping[str, Sequence[Measured]]:
    """Votes of growing size, for the picture."""
    worlds = [Asked(problem) for problem in problems(count, seed)]
    ways: Mapping[str, Callable[[int], Strategy]] = {
        "fixed vote": lambda size: Vote(at_most=size, confidence=None),
        "Vote": lambda size: Vote(at_most=size),
        "ConfidentVote": lambda size: ConfidentVote(at_most=size, warmup=min(4, size)),
    }
    return {name: [measured(f"{name} of {size}", way(size), worlds) for size in SIZES] for name, way in ways.items()}


def measure_puzzles(count: int, seed: int) -> Mapping[str, Sequence[Measured]]:
    """Searches on the game of 24, at each budget of drafts."""
    worlds = [Dealt(puzzle, number) for number, puzzle in enumerate(puzzles(count, seed))]
    ways: Mapping[str, Callable[[int], Strategy]] = {
        "BestOf": lambda budget: BestOf(at_most=budget),
        "AdaptiveTree": lambda budget: AdaptiveTree(at_most=budget),
        "Revise": lambda budget: Revise(at_most=budget),
    }
    return {
        name: [measured(f"{name}(at_most={budget})", way(budget), worlds) for budget in BUDGETS]
        for name, way in ways.items()
    }


def _figures(answers: Mapping[str, Measured], searches: Mapping[str, Sequence[Measured]]) -> Mapping[str, Interval]:
    """The headlines, with their intervals."""
    fixed, strong, cascade = answers[FIXED], answers[STRONG], answers[CASCADE]
    place = BUDGETS.index(16)
    return {
        "vote_token_ratio": interval(token_ratio, answers[VOTE], fixed),
        "confident_vote_token_ratio": interval(token_ratio, answers[CONFIDENT], fixed),
        "confident_vote_over_vote_tokens": interval(token_ratio, answers[CONFIDENT], answers[VOTE]),
        "cascade_cost_ratio": interval(cost_ratio, cascade, strong),
        "adaptive_tree_gain": interval(points_gained, searches["AdaptiveTree"][place], searches["BestOf"][place]),
        "vote_accuracy_gap_points": interval(points_lost, answers[VOTE], fixed),
        "confident_vote_accuracy_gap_points": interval(points_lost, answers[CONFIDENT], fixed),
        "cascade_accuracy_gap_points": interval(points_lost, cascade, strong),
    }


def measure(*, count: int, deals: int, seed: int) -> tuple[Mapping[str, Any], Sequence[Measured]]:
    """All figures, and what the table shows."""
    answers, searches = measure_answers(count, seed), measure_puzzles(deals, seed)
    figures = _figures(answers, searches)
    gaps = [figure for name, (figure, _, _) in figures.items() if name.endswith("gap_points")]
    kinds = [problem.kind for problem in problems(count, seed)]
    shown = [*answers.values(), *(each for budgets in searches.values() for each in budgets)]
    return {
        "simulated": True,
        "problems": count,
        "puzzles": deals,
        "seed": seed,
        **{name: figure for name, (figure, _, _) in figures.items()},
        "accuracy_gap_points": max(gaps),
        "intervals": {name: ends for name, (_, *ends) in figures.items()},
        "vote_token_ratio_by_kind": {
            kind: figure_of(token_ratio, [_of_kind(answers[name], kinds, kind) for name in (VOTE, FIXED)])
            for kind in KINDS
            if kind in kinds
        },
        "strategies": {
            each.name: {
                "accuracy": each.accuracy,
                "interval": interval(accuracy, each)[1:],
                "tokens": each.tokens,
                "cost": each.cost,
                "drafts": each.drafts,
            }
            for each in shown
        },
    }, shown


def _of_kind(measured: Measured, kinds: Sequence[str], kind: str) -> Outcomes:
    return [outcome for outcome, each in zip(measured.outcomes, kinds, strict=True) if each == kind]


def _table(figures: Mapping[str, Any], shown: Sequence[Measured]) -> Table:
    table = Table(title="simulated: how often each is right, and what it costs, in tokens and in the small model's")
    for column in ("", "right", "95 %", "tokens", "cost", "drafts"):
        table.add_column(column, justify="right" if column else "left")
    for each in shown:
        low, high = figures["strategies"][each.name]["interval"]
        costs = (f"{each.tokens:,.0f}", f"{each.cost:,.0f}") if each.tokens > each.drafts else ("", "")
        table.add_row(each.name, f"{each.accuracy:.1%}", f"{low:.1%} - {high:.1%}", *costs, f"{each.drafts:.1f}")
    return table


def _picture(count: int, seed: int, shown: Mapping[str, Measured]) -> str:
    sizes = measure_sizes(count, seed)
    votes = [Curve(name, [_point(each, each.tokens) for each in points]) for name, points in sizes.items()]
    searches = [
        Curve(name, [_point(shown[f"{name}(at_most={budget})"], budget) for budget in BUDGETS])
        for name in ("BestOf", "AdaptiveTree", "Revise")
    ]
    return picture(
        [
            Panel("Votes on problems of mixed difficulty, simulated", "tokens a problem", votes),
            Panel("Game of 24, scripted proposer", "drafts at most", searches),
        ]
    )


def _point(each: Measured, cost: float) -> Point:
    return Point(cost, *interval(accuracy, each))


@click.command()
@click.option("--problems", "count", default=600, show_default=True, help="Simulated problems of mixed difficulty.")
@click.option("--puzzles", "deals", default=500, show_default=True, help="Of the game of 24.")
@click.option("--seed", default=7, show_default=True, help="Of problems, answers and puzzles.")
@click.option("--picture", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the curves, as SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(count: int, deals: int, seed: int, file: Path | None, as_json: bool) -> None:
    """Accuracy against cost of every strategy, in simulation."""
    figures, shown = measure(count=count, deals=deals, seed=seed)
    if file is not None:
        file.write_text(_picture(count, seed, {each.name: each for each in shown}))
    if as_json:
        click.echo(json.dumps(figures))
        return
    Console(width=120).print(_table(figures, shown))
    for name, (low, high) in figures["intervals"].items():
        click.echo(f"{name.replace('_', ' ')}: {figures[name]:.3g} ({low:.3g} to {high:.3g})")
    by_kind = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in figures["vote_token_ratio_by_kind"].items())
    click.echo(f"vote token ratio by kind of problem: {by_kind}")
    click.echo("Simulated: replies are drawn, no model was asked.")


if __name__ == "__main__":
    main()
