"""Durable reasoning workflows on Temporal and SGLang, with the true cost of every completed run.

```python
from orchestrator import Orchestrator, RunContext

app = Orchestrator("hello")


@app.workflow()
async def greet(ctx: RunContext, name: str) -> str:
    return (await ctx.transcript(system="Be warm and brief.").generate(f"Greet {name}.")).text
```
"""

from orchestrator.app import Orchestrator
from orchestrator.budget import Budget
from orchestrator.context import Passages, RunContext
from orchestrator.errors import OrchestratorError
from orchestrator.messages import ToolCall
from orchestrator.passages import Passage
from orchestrator.signature import ReasoningWorkflow
from orchestrator.tool import Effect, Tool, ToolContext
from orchestrator.transcript import Reply, Transcript
from orchestrator.usage import Outcome, Receipt, Timings, Usage

__all__ = [
    "Budget",
    "Effect",
    "Orchestrator",
    "OrchestratorError",
    "Outcome",
    "Passage",
    "Passages",
    "ReasoningWorkflow",
    "Receipt",
    "Reply",
    "RunContext",
    "Timings",
    "Tool",
    "ToolCall",
    "ToolContext",
    "Transcript",
    "Usage",
]
