"""The embedded engine: the real SGLang on this machine's CPU, with a small model.

SGLang has an environment of its own (`make engine`), since its pinned requirements don't go with ours; what runs there
is in `sglang_cpu/`.
"""

import json
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from orchestrator.engine.records import recording_flags, scheduler_logging
from orchestrator.errors import ConfigurationError
from orchestrator.local.locks import holding
from orchestrator.local.ports import LOOPBACK, free_ports, require_free
from orchestrator.local.processes import Part, PartStopped, supervised
from orchestrator.local.report import Report, silently
from orchestrator.settings import Settings

__all__ = ["MODEL", "EngineServer", "RunningEngine", "engine_python", "model_folder", "prepare_model"]

MODEL = "smollm2-135m-instruct"
"""The one model that the embedded engine serves."""
PART = "SGLang"
PROGRAMS = Path(__file__).with_name("sglang_cpu")
START_UP = timedelta(minutes=3)
"""25 s on a quiet machine."""


def engine_python(environment: Path) -> Path:
    """The Python of the engine's environment.

    Raises:
        ConfigurationError: there is no such environment.
    """
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        raise ConfigurationError(
            f"there is no Python environment with SGLang at {environment.absolute()}",
            remedy="Run 'make engine', or set ORCHESTRATOR_ENGINE__URLS to a running SGLang server.",
        )
    return python


def model_folder(state: Path) -> Path:
    """Where the converted model is, or will be."""
    return state.absolute() / "models" / MODEL


async def prepare_model(settings: Settings, report: Report = silently) -> Path:
    """The model's folder, converted from its wheel the first time (half a minute); another process may do it meanwhile.

    Raises:
        ConfigurationError: there is no engine environment.
        PartStopped: the conversion failed.
    """
    folder = model_folder(settings.state)
    python = engine_python(settings.engine.environment)
    if folder.exists():
        return folder
    report(PART, "starting", f"preparing the model {MODEL}, once")
    async with holding(folder.with_name(f"{MODEL}.lock")):
        if folder.exists():
            return folder
        command = [python, PROGRAMS / "prepare_model.py", folder]
        name, log = f"the conversion of {MODEL}", settings.state.absolute() / "logs" / "model.log"
        async with supervised(name, command, log=log) as conversion:
            if code := await conversion.ended():
                raise PartStopped(conversion.name, code=code, log=log)
    return folder


ENVIRONMENT = {
    # Without it, a call of a tool that doesn't exist vanishes, and the model is never told.
    "SGLANG_FORWARD_UNKNOWN_TOOLS": "1",
    # Threads that spin at OpenMP's barriers take the cores from whoever they wait for: with one other busy process on
    # two cores, decoding fell from 13 tokens a second to 1.
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    # The request log is on for its level alone; no request takes eleven days.
    "SGLANG_LOG_REQUEST_EXCEEDED_MS": "1000000000",
}


@dataclass(frozen=True, kw_only=True)
class RunningEngine:
    url: str
    facts: Path
    """Where it records its requests, for `orchestrator.engine.facts`."""
    part: Part


@dataclass(frozen=True, kw_only=True)
class EngineServer:
    """An SGLang server that isn't started yet."""

    environment: Path
    model: Path
    """Folder of the model; its name is the name that is served."""
    log: Path
    port: int | None = None
    """A free one by default."""
    max_total_tokens: int = 32_768
    """Size of the KV cache."""
    max_running_requests: int = 16
    max_queued_requests: int = 64
    """Beyond them a request is refused with 503."""
    tool_call_parser: str = "qwen25"
    reasoning_parser: str | None = None
    facts: Path | None = None
    """Folder in which it records its requests; by default `facts` beside the log."""

    @asynccontextmanager
    async def start(self) -> AsyncGenerator[RunningEngine]:
        """Starts it, waits until it is healthy, and stops it.

        Raises:
            ConfigurationError: there is no engine environment, or the port is in use.
            PartStopped, PartNotReady: it doesn't come up.
        """
        python = engine_python(self.environment)
        port = free_ports(1)[0] if self.port is None else require_free(self.port, "ORCHESTRATOR_ENGINE__PORT")
        url = f"http://{LOOPBACK}:{port}"
        facts = (self.facts or self.log.with_name("facts")).absolute()
        facts.mkdir(parents=True, exist_ok=True)
        # SGLang leaves its sockets in the temporary folder. Not below `state`: a socket's path has at most 107 letters.
        with tempfile.TemporaryDirectory(prefix="sglang-", ignore_cleanup_errors=True) as scratch:
            logging = Path(scratch) / "logging.json"
            logging.write_text(json.dumps(scheduler_logging(facts, port)))
            async with (
                supervised(
                    PART,
                    [python, PROGRAMS / "launch.py", *self._flags(port), *recording_flags(facts)],
                    log=self.log,
                    environment={"TMPDIR": scratch, "SGLANG_LOGGING_CONFIG_PATH": str(logging), **ENVIRONMENT},
                    # Asked gently, it takes five seconds to see that it has nothing to drain.
                    grace=timedelta(0),
                ) as part,
                httpx.AsyncClient(base_url=url, trust_env=False) as client,
            ):
                await part.until(lambda: _is_healthy(client), within=START_UP, every=timedelta(seconds=0.5))
                yield RunningEngine(url=url, facts=facts, part=part)

    def _flags(self, port: int) -> list[str]:
        flags = [
            *("--model-path", str(self.model), "--served-model-name", self.model.name),
            *("--device", "cpu", "--attention-backend", "torch_native"),
            *("--host", LOOPBACK, "--port", str(port)),
            *("--max-total-tokens", str(self.max_total_tokens)),
            *("--max-running-requests", str(self.max_running_requests)),
            *("--max-queued-requests", str(self.max_queued_requests)),
            "--sleep-on-idle",  # else the scheduler burns a core
            *("--log-level-http", "warning"),
            *("--enable-metrics", "--enable-cache-report"),
            *("--tokenizer-metrics-allowed-custom-labels", "tenant", "workflow"),
            *("--load-snapshot-publish-interval", "1"),  # else /v1/loads lags 15 decode steps behind
            *("--enable-priority-scheduling", "--default-priority-value", "0"),
            *("--priority-scheduling-preemption-threshold", "10"),
            *("--retraction-policy", "priority", "--radix-eviction-policy", "priority"),
            "--enable-session-radix-cache",
            "--constrained-json-disable-any-whitespace",  # else a small model writes newlines until it is cut off
            *("--tool-call-parser", self.tool_call_parser),
        ]
        if self.reasoning_parser is not None:
            flags += ["--reasoning-parser", self.reasoning_parser]
        return flags


async def _is_healthy(client: httpx.AsyncClient) -> bool:
    try:
        response = await client.get("/health", timeout=10)
    except httpx.TransportError:
        return False
    return response.is_success
