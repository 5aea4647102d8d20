"""Whether a run's model may call a tool: by policy, by what was granted, or by asking a person.

Deterministic.
"""

from collections.abc import Sequence
from typing import Any, cast

from temporalio import workflow

from orchestrator.approvals import Approvals
from orchestrator.asking import Asking, Expected
from orchestrator.errors import HumanTimedOut, ToolRefused
from orchestrator.questions import Verdict
from orchestrator.tool import Tool

__all__ = ["GRANTS", "Approving", "granted_at_start"]

GRANTS = "orchestrator.grants"
"""The memo with the names of the tools that were granted when the run was started."""

SINCE = "approvals"
"""Runs that began to call a tool before there were approvals replay without."""


def granted_at_start() -> Sequence[str]:
    """The tools that were granted when the run was started."""
    return cast("Sequence[str]", workflow.memo_value(GRANTS, ()))


class Approving:
    """What the model of a run may call."""

    def __init__(self, asking: Asking, *, granted: Sequence[str], handed_on: Sequence[str]) -> None:
        """Nothing is asked for what is granted already.

        Args:
            granted: names of tools, for this run alone: by its workflow's definition.
            handed_on: names of tools, for this run and those that it starts.
        """
        self._asking = asking
        self._granted = tuple(granted)
        self.handed_on = list(handed_on)

    async def approve(self, tool: Tool[..., Any], arguments: str, approvals: Approvals) -> None:
        """Returns if the model may make this call.

        Raises:
            InvalidInput: the arguments don't fit, so nobody was asked.
            ToolRefused: it may not.
        """
        if self.allows(tool, approvals) or not workflow.patched(SINCE):
            return
        policy = tool.approval or approvals.of(tool.effect)
        if policy == "refuse":
            raise ToolRefused(tool.name, "refused: in this app the model may not call it")
        tool.parse(arguments)
        await self._asking.room()
        if self._is_granted(tool):
            return
        try:
            verdict = await self._ask(tool, arguments, approvals)
        except HumanTimedOut as error:
            raise ToolRefused(tool.name, f"refused: nobody approved it within {error.seconds:g} s") from error
        if verdict.decision == "no":
            raise ToolRefused(tool.name, f"refused by a person{f': {verdict.reason}' if verdict.reason else ''}")

    def allows(self, tool: Tool[..., Any], approvals: Approvals) -> bool:
        """Whether the model may call it without anybody being asked."""
        policy = tool.approval or approvals.of(tool.effect)
        return policy == "grant" or (policy == "ask" and self._is_granted(tool))

    def _is_granted(self, tool: Tool[..., Any]) -> bool:
        return tool.name in self._granted or tool.name in self.handed_on

    async def _ask(self, tool: Tool[..., Any], arguments: str, approvals: Approvals) -> Verdict:
        what = tool.spec.description.partition("\n")[0]
        verdict: Verdict = await self._asking.ask(
            f"May {tool.name} be called?{f' {what}' if what else ''}",
            Expected(Verdict),
            to=approvals.to,
            timeout=approvals.timeout,
            tool=tool.name,
            arguments=arguments,
        )
        if verdict.decision == "always" and not self._is_granted(tool):
            self.handed_on.append(tool.name)
            self._asking.answer_all(tool.name, "always")
        return verdict
