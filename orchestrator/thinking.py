"""Thinking: a strategy's moves as durable steps of a run, and what came of them told to the strategy.

Deterministic. The strategy decides; here its drafts become forks of one conversation, which run side by side, and what
loses is aborted and discarded.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from temporalio import workflow
from temporalio.exceptions import ActivityError

from orchestrator.branches import Branch
from orchestrator.budget import Allowance
from orchestrator.errors import (
    BudgetExceeded,
    DefinitionError,
    EngineError,
    JudgeFailed,
    NoAnswer,
    OrchestratorError,
    OutputInvalid,
    RunError,
)
from orchestrator.execution import Execution
from orchestrator.judging import Case, Judge, Verdict
from orchestrator.purse import Purse
from orchestrator.steps import Sampling
from orchestrator.strategies import (
    Abort,
    Auto,
    Beam,
    Draft,
    Drafted,
    Event,
    Experience,
    Finish,
    Judged,
    Lost,
    Room,
    State,
    Strategy,
    Trial,
)
from orchestrator.strategies import Judge as Judging
from orchestrator.transcript import Asked, Reply, Transcript
from orchestrator.usage import Receipt
from orchestrator.watches import ConfidenceFloor

__all__ = ["Task", "Thinking", "Thought"]

T = TypeVar("T")

LONGEST_KEY = 200
"""Characters; a longer answer is remembered by its hash."""
WORTH_WARMING = 2_000
"""Characters that branches share and that no engine has seen; less is computed sooner than asked for."""
RECENT = 4
"""Drafts whose time in the queue says how full the engine is."""


@dataclass(frozen=True, kw_only=True)
class Task(Generic[T]):
    """What is to be thought about."""

    question: str
    strategy: Strategy
    output: type[T]
    extract: Callable[[str], T | None] | None = None
    """Reads the answer out of free text; `None` where it is JSON, or the text itself."""
    key: Callable[[T], str] | None = None
    """Under which equal answers count as equal."""
    judge: Judge | None = None
    budget: Allowance | None = None
    sampling: Sampling
    max_steps: int = 10


class Thought(Generic[T]):
    """An answer, how sure it is, and what it cost."""

    def __init__(self, value: T, text: str, finish: Finish, state: State, strategy: str, receipt: Receipt) -> None:
        self.value = value
        self.text = text
        """All that the model wrote for it."""
        self.confidence: float | None = finish.confidence
        """From 0 to 1, by what the strategy goes by; `None` where it can't say."""
        self.trials: Sequence[Trial] = state.trials
        """What was tried, in the order in which it was begun."""
        self.strategy = strategy
        """What was done, in the words of the run's inference path."""
        self.receipt = receipt
        """Of all trials and judgements, those that lost included."""

    def __repr__(self) -> str:
        return f"Thought({self.value!r}, confidence={self.confidence!r}, trials={len(self.trials)})"


@dataclass
class _Written:
    """What a trial has come to."""

    fork: Transcript
    branch: Branch
    value: Any = None
    reply: Reply | None = None
    verdict: Verdict | None = None


class Thinking(Generic[T]):
    """One thought."""

    def __init__(self, execution: Execution, transcript: Transcript, task: Task[T]) -> None:
        self._execution = execution
        self._task = task
        self._adapter = _adapter(task)
        self._strategy = _informed(task, ())
        _check(task, self._strategy, transcript)
        self._trunk = transcript
        self._base = transcript.fork()
        self._base.say(_question(task))
        self._name = f"think{execution.next_thought()}"
        budget = execution.funding.left(execution.receipt, task.budget)
        self._purse = Purse(budget, usual_tokens=len(task.question) // 3 + task.sampling.max_tokens)
        self._written: dict[int, _Written] = {}
        self._running: dict[int, asyncio.Task[Event | None]] = {}
        self._aside = Receipt()
        """Of what was done beside drafts."""
        self._problem: Exception | None = None
        self._drafted: list[Receipt] = []

    async def think(self) -> Thought[T]:
        """The answer. The conversation goes on from it.

        Raises:
            NoAnswer: there is none.
            BudgetExceeded: there is none, and no room for one.
            JudgeFailed: the judge can't judge.
        """
        try:
            if isinstance(self._strategy, Auto) and not self._strategy.experience:
                self._strategy = _informed(self._task, await self._execution.experience())
            await self._warm()
            state = await self._follow(self._strategy.begin(workflow.random().getrandbits(32)))
        finally:
            await self._settle()
        finish = state.finished
        assert finish is not None
        described = self._strategy.described(state)
        self._execution.passed_through(described)
        if finish.trial is None:
            return await self._last_resort(state, described)
        await self._discard(state, finish.trial)
        winner = self._written[finish.trial]
        self._trunk.becomes(winner.fork)
        assert winner.reply is not None
        return Thought(winner.value, winner.reply.text, finish, state, described, self._receipt)

    async def _follow(self, state: State) -> State:
        while True:
            state, moves = self._strategy.ask(state, self._room(state))
            for move in moves:
                match move:
                    case Draft():
                        self._purse.hold(move.trial)
                        self._begin(move.trial, self._draft(move))
                    case Judging():
                        self._begin(move.trial, self._judge(move.trial))
                    case Abort():
                        self._running[move.trial].cancel()
                    case Finish():
                        return state
            for event in await self._next():
                state = self._strategy.tell(state, event)

    def _begin(self, trial: int, work: Any) -> None:
        self._running[trial] = asyncio.ensure_future(work)

    async def _next(self) -> Sequence[Event]:
        """What came of the moves that have ended, at least one, in the order of their trials."""
        while self._running:
            await workflow.wait(list(self._running.values()), return_when=asyncio.FIRST_COMPLETED)
            ended = {trial: task for trial, task in sorted(self._running.items()) if task.done()}
            for trial in ended:
                del self._running[trial]
            events = [None if task.cancelled() else task.result() for task in ended.values()]
            if told := [event for event in events if event is not None]:
                return told
        return ()

    async def _settle(self) -> None:
        """Ends what still runs, and waits until the engines have confirmed it."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._running.clear()

    def _room(self, state: State) -> Room:
        recent = self._drafted[-RECENT:]
        queued = sum((each.timings.queue.total_seconds() for each in recent if each.timings.queue), 0.0)
        worked = sum((each.timings.engine.total_seconds() for each in recent if each.timings.engine), 0.0)
        costs = [each.cost for each in self._drafted]
        return Room(
            drafts=0 if self._execution.funding.closing else self._purse.drafts(answered=bool(state.answered)),
            congestion=queued / (queued + worked) if queued + worked else 0.0,
            draft_usd=sum(costs, Decimal(0)) / len(costs) if costs else None,
        )

    async def _warm(self) -> None:
        """Has the engine compute what the branches share, once, where that is worth a step; compacts it before that.

        What is due once for all branches would else be done by each of them.
        """
        if (compaction := await self._base.compact_if_due()) is not None:
            self._aside += compaction.receipt
            self._purse.pay(compaction.receipt)
        unseen = self._base.unseen
        if self._strategy.drafts_at_most < 2 or sum(map(len, unseen)) < WORTH_WARMING:
            return
        try:
            receipt = await self._base.warm()
        except OrchestratorError as error:
            self._problem = error  # the drafts will say whether it matters
            return
        self._aside += receipt
        self._purse.pay(receipt)

    async def _draft(self, move: Draft) -> Event | None:
        trial, task = move.trial, self._task
        fork = self._fork(move)
        written = self._written[trial]
        sampling = task.sampling.model_copy(
            update={
                "temperature": task.sampling.temperature if move.temperature is None else move.temperature,
                "seed": None if task.sampling.seed is None else task.sampling.seed + trial,
            }
        )
        try:
            value, reply = await fork.answer(self._asked(closes=False), sampling)
        except (RunError, EngineError, ActivityError) as error:
            self._purse.release(trial, written.branch.receipt, whole=False)
            return self._lost(trial, error)
        except asyncio.CancelledError:
            self._purse.release(trial, written.branch.receipt, whole=False)
            raise
        self._purse.release(trial, written.branch.receipt, whole=True)
        self._drafted.append(written.branch.receipt)
        return self._take(written, move, value, reply)

    def _take(self, written: _Written, move: Draft, value: Any, reply: Reply) -> Event:
        task = self._task
        if task.extract is not None:
            value = task.extract(value)
        written.value, written.reply = value, reply
        if value is None:
            self._problem = OutputInvalid("answer", attempts=1, problem="it has no answer in it", reply=reply.text)
        result = reply.result
        return Drafted(
            trial=move.trial,
            answer=None if value is None else self._key(value),
            whole=not (result.finish_reason == "watched" and isinstance(move.watch, ConfidenceFloor)),
            likelihood=result.likelihood,
            confidence=result.confidence,
            weakest=result.weakest,
            tokens=written.branch.receipt.usage.output or 0,
        )

    def _fork(self, move: Draft) -> Transcript:
        trial = move.trial
        branch = Branch(
            name=f"{self._name}.{trial}",
            pool=move.pool,
            measure=move.measure or (self._task.judge is not None and self._task.judge.measures),
            watch=move.watch,
            limit=lambda: self._purse.limit(trial, branch.receipt),
            budget_line=self._purse.line if move.shows_budget else None,
        )
        if move.builds_on is None:
            fork = self._base.fork(branch)
        else:
            before = self._written[move.builds_on]
            fork = before.fork.fork(branch)
            if move.how == "step":
                fork.say("Write the next step only.")
            elif move.how == "revise":
                fork.say(_correction(before.verdict, self._task.question))
            else:
                fork.say(self._task.question)
        self._written[trial] = _Written(fork, branch)
        return fork

    async def _judge(self, trial: int) -> Event | None:
        task, written = self._task, self._written[trial]
        assert task.judge is not None
        assert written.reply is not None
        case = Case[Any](
            question=task.question,
            value=written.value,
            text=written.reply.text,
            transcript=written.reply.result.transcript,
            likelihood=written.reply.result.likelihood,
            pool=written.branch.pool,
            execution=self._execution,
            pay=self._pay,
        )
        try:
            written.verdict = verdict = await task.judge.judge(case)
        except JudgeFailed:
            raise
        except (RunError, EngineError, ActivityError) as error:
            return self._lost(trial, error)
        return Judged(trial=trial, score=verdict.score, passed=verdict.passed)

    def _pay(self, receipt: Receipt) -> None:
        self._aside += receipt
        self._purse.pay(receipt)

    def _lost(self, trial: int, error: Exception) -> Event:
        """A branch that failed is lost; what ends the run by its own budget ends the thought."""
        if isinstance(error, BudgetExceeded) and error.account is not None and not self._execution.funding.closing:
            raise error
        if not isinstance(error, BudgetExceeded) or self._problem is None:
            self._problem = error
        return Lost(trial=trial)

    def _asked(self, *, closes: bool) -> Asked:
        task = self._task
        return Asked(
            question=task.question,
            output=task.output,
            free=task.extract is not None,
            max_steps=task.max_steps,
            closes=closes,
        )

    async def _last_resort(self, state: State, described: str) -> Thought[T]:
        """Where there is no answer: one drawn from what the budget keeps for it, if it keeps any."""
        await self._discard(state, None)
        if self._execution.funding.closing:
            fork = self._base.fork()
            value, reply = await fork.answer(
                self._asked(closes=True), self._task.sampling.model_copy(update={"temperature": 0.0})
            )
            if self._task.extract is not None:
                value = self._task.extract(value)
            if value is not None:
                self._trunk.becomes(fork)
                self._aside += reply.receipt
                return Thought(value, reply.text, Finish(trial=None), state, described, self._receipt)
        problem = self._problem
        if problem is not None and not isinstance(problem, OutputInvalid):
            raise problem
        raise NoAnswer(described, drafts=len(state.trials), problem=_words(problem))

    async def _discard(self, state: State, winner: int | None) -> None:
        """Books the branches that didn't lead to the answer as waste."""
        kept = self._kept(state, winner)
        lost = [written.branch for trial, written in self._written.items() if trial not in kept]
        steps = [step for branch in lost for step in branch.steps]
        if not steps:
            return
        wasted = sum((branch.receipt.cost - branch.receipt.waste for branch in lost), Decimal(0))
        self._aside += await self._execution.discard(steps, wasted)
        self._aside = self._aside.model_copy(update={"waste": self._aside.waste + wasted})

    def _kept(self, state: State, winner: int | None) -> set[int]:
        """The answer's trial, those that it builds on, and those that agree where agreement is what counts."""
        kept: set[int] = set()
        if winner is None:
            return kept
        if self._strategy.counts_answers:
            answer = state.trials[winner].answer
            kept |= {trial.number for trial in state.trials if trial.answered and trial.answer == answer}
        trial: int | None = winner
        while trial is not None:
            kept.add(trial)
            trial = state.trials[trial].builds_on
        return kept

    @property
    def _receipt(self) -> Receipt:
        return sum((written.branch.receipt for written in self._written.values()), self._aside)

    def _key(self, value: Any) -> str:
        if self._task.key is not None:
            text = self._task.key(value)
        elif isinstance(value, str):
            text = " ".join(value.split()).casefold()
        else:
            text = json.dumps(self._adapter.dump_python(value, mode="json"), sort_keys=True)
        return text if len(text) <= LONGEST_KEY else hashlib.sha256(text.encode()).hexdigest()


def _question(task: Task[Any]) -> str:
    if isinstance(task.strategy, Beam):
        return f"{task.question}\nWork step by step. Write one step at a time, and the answer in the last one."
    return task.question


def _correction(verdict: Verdict | None, question: str) -> str:
    said = "" if verdict is None or not verdict.feedback else f": {verdict.feedback}"
    return f"That isn't right{said}\nFind the mistake, and answer again: {question}"


def _adapter(task: Task[Any]) -> TypeAdapter[Any]:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(task.output)
        if task.extract is None and task.output is not str:
            adapter.json_schema()
    except Exception as error:
        raise DefinitionError(
            "ctx.think",
            problem=f"no JSON schema can be made of its output ({str(error).splitlines()[0]})",
            remedy="Give JSON types or a pydantic model, or extract=... that reads the answer out of text.",
        ) from error
    return adapter


def _informed(task: Task[Any], known: Sequence[Experience]) -> Strategy:
    strategy = task.strategy
    if not isinstance(strategy, Auto):
        return strategy
    return strategy.informed(judged=task.judge is not None, experience=strategy.experience or known)


def _check(task: Task[Any], strategy: Strategy, transcript: Transcript) -> None:
    def refuse(problem: str, remedy: str) -> DefinitionError:
        return DefinitionError(f"ctx.think(strategy={strategy!r})", problem=problem, remedy=remedy)

    if strategy.needs_judge and task.judge is None:
        raise refuse(
            "it can't tell a good answer without a judge", "Give judge=verified(...), judged_by(...) or graded()."
        )
    comparable = task.key is not None or task.extract is not None or task.output is not str
    if strategy.counts_answers and not comparable:
        raise refuse("it counts equal answers, and free texts are never equal", "Give output=, extract= or key=.")
    if isinstance(strategy, Beam) and task.extract is None:
        raise refuse("it can't tell the last step from the others", "Give extract=... that finds the answer in it.")
    writes = [tool.name for tool in transcript.tools if tool.effect == "write"]
    if strategy.throws_away and writes:
        raise refuse(
            f"it may throw branches away, and {', '.join(writes)} can't be taken back",
            "Leave the tool out, or use Direct() or Agent().",
        )
    if task.budget is not None and task.budget.gpu_seconds is not None:
        raise refuse("gpu_seconds bound whole runs", "Give tokens or usd, or put gpu_seconds on the workflow's budget.")


def _words(problem: Exception | None) -> str:
    return (
        problem.problem if isinstance(problem, OutputInvalid) else "none was begun" if problem is None else str(problem)
    )
