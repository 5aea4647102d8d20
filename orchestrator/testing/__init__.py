"""A scripted engine to test workflows with: an HTTP server that speaks SGLang's native wire and plays given replies.

It is for speed and determinism. It runs no model, and it says so: its model is called `scripted`.

```python
from orchestrator.testing import CallTool, Say, scripted_engine


async def test_it_calls_the_calculator():
    async with scripted_engine([CallTool("calculator", expression="2+2"), Say("It is 4.")]) as engine:
        ...  # run the workflow against engine.url
        assert engine.requests[1].request.last_message == "4"
```
"""

from orchestrator.testing.chaos import Chaos
from orchestrator.testing.engine import ScriptedEngine, scripted_engine
from orchestrator.testing.replies import Break, CallTool, Fail, Hang, Reply, Say, Script, replies_from_json
from orchestrator.testing.requests import Finish, RequestRecord, ScriptedRequest, Served

__all__ = [
    "Break",
    "CallTool",
    "Chaos",
    "Fail",
    "Finish",
    "Hang",
    "Reply",
    "RequestRecord",
    "Say",
    "Script",
    "ScriptedEngine",
    "ScriptedRequest",
    "Served",
    "replies_from_json",
    "scripted_engine",
]
