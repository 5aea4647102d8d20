"""The lines in which SGLang 0.5.23 records finished requests in files: how to have them written, and how to read them.

- The **export**, JSON of `observability/request_metrics_exporter.py`: all tokens, all moments, why the request ended.
- The **scheduler's line**, `ReqTimeStats(` of `managers/schedule_batch.py`: tokens, when computing began and ended.

Tried on the real server. The export is written by the code that answers the client (`tokenizer_manager.py`,
`_stream_one_response`), so there is none of a request whose client disconnected or was killed. The scheduler writes of
every request that it computed a token of, whoever listens. Neither is written of a health check's tokens as usage: the
export leaves health checks out, and their ids are told by `HEALTH_CHECK`.

A request refused by a full queue (503) or aborted in the queue has an export without `prompt_tokens`, and no line of
the scheduler: nothing was computed. No I/O here.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.engine.sglang import moments_of
from orchestrator.usage import EngineMoments, Usage

__all__ = ["EngineFact", "SchedulerLine", "read_export", "read_scheduler_line", "recording_flags", "scheduler_logging"]

HEALTH_CHECK = "HEALTH_CHECK"
"""Where the id of a health check's request begins (`sglang/srt/constants.py`)."""

Finish = Literal["stop", "length", "abort"]


@dataclass(frozen=True, kw_only=True)
class EngineFact:
    """What an engine recorded of one request."""

    usage: Usage
    moments: EngineMoments
    finish: Finish | None = None
    """`None` where only the scheduler recorded it, which doesn't say."""


NOTHING_COMPUTED = Usage(prompt=0, cached=0, output=0)


class _Export(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str
    finish_reason: Mapping[str, Any] | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    forward_entry_time: float | None = None
    prefill_finished_time: float | None = None
    request_finished_ts: float | None = None

    @property
    def usage(self) -> Usage:
        if self.prompt_tokens is None and not self.completion_tokens:
            return NOTHING_COMPUTED
        cached = self.cached_tokens
        if cached is not None and self.prompt_tokens is not None:
            cached = min(cached, self.prompt_tokens)
        return Usage(
            prompt=self.prompt_tokens, cached=cached, output=self.completion_tokens, reasoning=self.reasoning_tokens
        )


def read_export(line: bytes) -> tuple[str, EngineFact] | None:
    """A request's id and what the export says of it; `None` where the line is no such record."""
    try:
        export = _Export.model_validate(json.loads(line))
        finish = (export.finish_reason or {}).get("type")
        fact = EngineFact(
            usage=export.usage,
            moments=moments_of(export.model_dump(exclude_none=True)),
            finish=finish if finish in ("stop", "length", "abort") else None,
        )
    except (ValueError, ValidationError):
        return None
    return export.id, fact


@dataclass(frozen=True, kw_only=True)
class SchedulerLine:
    """What the scheduler says of one request when it has ended."""

    rid: str
    fact: EngineFact
    at: float | None
    """Unix time of the line, where the log's format says it (`scheduler_logging`)."""
    born: float | None
    """Unix time at which the scheduler's process began, likewise."""


_STATS = re.compile(
    rb"(?:(?P<at>\d+\.\d+) (?P<age>\d+) )?.*?ReqTimeStats\(rid=(?P<rid>[^,]+), .*?"
    rb"input_len=(?P<prompt>\d+), cached_input_len=(?P<cached>\d+), output_len=(?P<output>\d+),[^)]*\): "
    rb"queue_duration=(?P<queue>[\d.]+)ms, forward_duration=(?P<forward>[\d.]+)ms, entry_time=(?P<entry>[\d.]+)"
)


def read_scheduler_line(line: bytes) -> SchedulerLine | None:
    """What a line of the scheduler's log says of a request; `None` where it is about something else.

    A request for no tokens at all is said to have made one (`output_len=1`); the engine's counters say none.
    """
    found = _STATS.match(line)
    if found is None:
        return None
    at = None if found["at"] is None else float(found["at"])
    forward = float(found["forward"]) / 1000
    # The entry into the queue is the last one: of a request that was retracted, it isn't where its computing began.
    finished = float(found["entry"]) + float(found["queue"]) / 1000 + forward if at is None else at
    moments = moments_of({"forward_entry_time": finished - forward, "request_finished_ts": finished})
    prompt, cached, output = int(found["prompt"]), int(found["cached"]), int(found["output"])
    usage = Usage(prompt=prompt, cached=min(cached, prompt), output=output)
    return SchedulerLine(
        rid=found["rid"].decode(),
        fact=EngineFact(usage=usage, moments=moments),
        at=at,
        born=None if at is None else at - int(found["age"]) / 1000,
    )


def recording_flags(folder: Path) -> Sequence[str]:
    """Flags that make a server record its requests in `folder`.

    The request log is on only because its level is what keeps prompts out of the export; without it, a prompt's token
    ids are written with every request.
    """
    return (
        *("--export-metrics-to-file", "--export-metrics-to-file-dir", str(folder)),
        *("--log-requests", "--log-requests-level", "0"),
        "--enable-request-time-stats-logging",
    )


def scheduler_logging(folder: Path, port: int) -> dict[str, Any]:
    """What SGLang's log must be set up as: the JSON of the file named by `SGLANG_LOGGING_CONFIG_PATH`.

    As it is by default, but what the scheduler says of requests goes to a file in `folder` as well, with the time and
    the age of the process in milliseconds before it, and the request log (`recording_flags`) goes nowhere.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "usual": {"format": "[%(asctime)s] %(message)s", "datefmt": "%Y-%m-%d %H:%M:%S"},
            "timed": {"format": "%(created).6f %(relativeCreated).0f %(message)s"},
        },
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": "usual"},
            "requests": {
                "class": "logging.handlers.WatchedFileHandler",
                "filename": str(folder / f"sglang-scheduler-{port}.log"),
                "delay": True,
                "formatter": "timed",
            },
            "nowhere": {"class": "logging.NullHandler"},
        },
        "root": {"level": "INFO", "handlers": ["console"]},
        "loggers": {
            "sglang.srt.managers.schedule_batch": {"handlers": ["requests"]},
            # A logger that has a handler isn't given another one (`sglang/srt/utils/log_utils.py`).
            "sglang.srt.utils.request_logger.stdout": {"handlers": ["nowhere"], "propagate": False},
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
        },
    }
