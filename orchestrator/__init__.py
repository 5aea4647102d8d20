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
from orchestrator.approvals import Approvals
from orchestrator.budget import Budget
from orchestrator.context import Passages, RunContext
from orchestrator.errors import OrchestratorError
from orchestrator.images import Image
from orchestrator.messages import ToolCall
from orchestrator.passages import Passage
from orchestrator.prediction import Called, Said
from orchestrator.signature import ReasoningWorkflow
from orchestrator.thinking import Thought
from orchestrator.tool import Effect, Tool, ToolContext
from orchestrator.toolservers import FromEnvironment, MCPServer, ServerTool, ServerTools
from orchestrator.transcript import Reply, Transcript
from orchestrator.usage import Outcome, Receipt, Savings, Timings, Usage

__all__ = [
    "Approvals",
    "Budget",
    "Called",
    "Effect",
    "FromEnvironment",
    "Image",
    "MCPServer",
    "Orchestrator",
    "OrchestratorError",
    "Outcome",
    "Passage",
    "Passages",
    "ReasoningWorkflow",
    "Receipt",
    "Reply",
    "RunContext",
    "Said",
    "Savings",
    "ServerTool",
    "ServerTools",
    "Thought",
    "Timings",
    "Tool",
    "ToolCall",
    "ToolContext",
    "Transcript",
    "Usage",
]
