"""Writes in files what SGLang 0.5.23 writes of finished requests, request by request.

What the real server writes when, is in `orchestrator.engine.records`; the contract tests hold both against each other.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from time import time
from uuid import uuid4

from pydantic import JsonValue

from orchestrator.testing.requests import ScriptedRequest

__all__ = ["Recorder"]


class Recorder:
    """One server's files in a folder."""

    def __init__(self, folder: Path, *, port: int, of_disconnected: bool) -> None:
        """Creates the folder.

        Args:
            of_disconnected: whether requests are recorded whose client went away, as by a server that has
                `--enable-request-time-stats-logging`. Without, the export is all there is.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._scheduler = folder / f"sglang-scheduler-{port}.log" if of_disconnected else None
        self._born = time()

    def export(self, request: ScriptedRequest, meta: Mapping[str, JsonValue]) -> None:
        """Of a request whose client is given its last answer."""
        parameters = {
            "rid": request.rid,
            "session_id": request.session_id,
            "stream": request.stream,
            "log_metrics": True,
            "priority": request.priority,
            "cache_salt": request.cache_salt or None,
            "custom_labels": dict(request.labels) or None,
        }
        known = {name: value for name, value in parameters.items() if value is not None}
        hour = f"{datetime.now():%Y%m%d_%H}"  # by the local clock, as SGLang's
        record = {"request_parameters": json.dumps(known), **meta}
        _append(self._folder / f"sglang-request-metrics-{hour}.log", json.dumps(record))

    def computed(
        self, rid: str, *, prompt: int, cached: int, output: int, queued: float, began: float, ended: float
    ) -> None:
        """Of a request that is over and was computed, to its end or not. Times are Unix time, `queued` a duration."""
        if self._scheduler is None:
            return
        stats = f"rid={rid}, input_len={prompt}, cached_input_len={cached}, output_len={output}"
        times = f"queue_duration={queued * 1000:.2f}ms, forward_duration={(ended - began) * 1000:.2f}ms"
        _append(
            self._scheduler,
            f"{time():.6f} {(time() - self._born) * 1000:.0f} ReqTimeStats({stats}, attempts=0, type=unified): "
            f"{times}, entry_time={began - queued:.3f}",
        )

    def health_check(self) -> None:
        """Of a health check that found the server idle: it computes one token."""
        present = time()
        rid = f"HEALTH_CHECK_{uuid4().hex}"
        self.computed(rid, prompt=1, cached=0, output=1, queued=0.0, began=present, ended=present)


def _append(file: Path, line: str) -> None:
    with file.open("a") as opened:
        opened.write(line + "\n")
