"""The program of a sandbox's process: it bounds itself, runs one piece of code in Monty and says what came of it.

Started as `python -I child.py` with an empty environment, alone in its process group. It imports nothing of ours, so
that it starts quickly and holds nothing worth stealing. Monty's own limits make for clear errors; the kernel's hold
where Monty's fail.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_monty import Frame, MontySession

__all__ = ["Printed", "bound", "cut", "main", "run"]

BASE = 256 * 1024 * 1024
"""Bytes of address space for what Python and Monty map before any code runs, which is under 180 MB, and for threads."""
OVERHEAD = 4
"""How many times Monty's heap may be mapped: a list is copied when it grows, and a result when it is handed over."""
FRAMES = 5
"""Innermost frames of a traceback that are shown."""
LINE = 200
"""Characters of a frame's source line that are shown."""


def main() -> None:
    """Reads a request from standard input, and writes the answer to standard output, as a line of JSON each."""
    request: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    bound(seconds=request["seconds"], memory=request["memory"])
    watching = threading.Thread(target=_end_with_asker, daemon=True)
    watching.start()
    answer = json.dumps(run(request), ensure_ascii=False) + "\n"
    sys.stdout.buffer.write(answer.encode(errors="replace"))
    sys.stdout.flush()
    watching.join()  # whoever asked ends this process group, which must not be another's by then


def _end_with_asker() -> None:
    """Ends the process group once whoever asked is no more, and standard input so at its end."""
    sys.stdin.buffer.read()
    os.killpg(os.getpid(), signal.SIGKILL)


def bound(*, seconds: float, memory: int) -> None:
    """Lets the kernel end this process, and those that it starts, should they use too much."""
    cpu = int(seconds) + 2
    for what, most in (
        (resource.RLIMIT_AS, BASE + OVERHEAD * memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    os.nice(10)
    with contextlib.suppress(OSError):  # only Linux has it
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, b"1000")
        os.close(descriptor)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """What the code printed, and its value or what went wrong; or what of the installation is missing."""
    try:
        import pydantic_monty as monty

        limits: monty.ResourceLimits = {"max_feed_duration_secs": request["seconds"], "max_memory": request["memory"]}
        # Nobody wants to wait for a program that sleeps; and the same program is to say the same each time.
        policy: monty.OSPolicy = {"sleep": "zero", "random_start": {"seed": 0}}
        pool = monty.Monty(max_processes=1)
        with pool, pool.checkout(limits=limits, os_policy=policy) as session:
            return _answer(session, request)
    except (ImportError, OSError) as error:
        return {"missing": str(error)}


def _answer(session: "MontySession", request: dict[str, Any]) -> dict[str, Any]:
    from pydantic_monty import MontyCrashedError, MontyRuntimeError, MontySyntaxError

    most: int = request["characters"]
    printed = Printed(most)
    value = error = None
    try:
        found = session.feed_run(request["code"], inputs=request["inputs"], print_callback=printed)
        value = None if found is None else cut(_shown(found), most)
    except MontyCrashedError as raised:
        if raised.timed_out:
            error = {"kind": "TimeoutError", "message": f"stopped after {request['seconds']:g} s"}
        else:
            error = {"kind": "SandboxStopped", "message": "the program took more memory or stack than it may"}
    except (MontyRuntimeError, MontySyntaxError) as raised:
        kind, _, message = raised.display("type-msg").partition(": ")
        where = [_place(frame) for frame in raised.traceback()[-FRAMES:]]
        error = {"kind": kind, "message": cut(message, most), "where": where}
    except Exception as raised:  # of handing the value over
        error = {
            "kind": type(raised).__name__,
            "message": cut(str(raised), most) or "the value is too large to be shown",
        }
    return {"printed": str(printed), "value": value, "error": error}


class Printed:
    """What a program prints: the beginning is kept, and the rest counted."""

    def __init__(self, most: int) -> None:
        self._room = most
        self._kept: list[str] = []
        self._dropped = 0

    def __call__(self, stream: str, text: str) -> None:
        kept = text[: self._room]
        self._room -= len(kept)
        self._dropped += len(text) - len(kept)
        if kept:
            self._kept.append(kept)

    def __str__(self) -> str:
        return "".join(self._kept) + _note(self._dropped)


def cut(text: str, most: int) -> str:
    """The beginning of a text, and a note of what is left out."""
    return text[:most] + _note(len(text) - most)


def _note(dropped: int) -> str:
    return f"\n[cut: {dropped:,} more characters]" if dropped > 0 else ""


def _shown(value: Any) -> str:
    from pydantic_monty import MontyClassProxy

    if isinstance(value, MontyClassProxy):
        return f"{value.name}({', '.join(f'{name}={each!r}' for name, each in value.attributes.items())})"
    return repr(value)


def _place(frame: "Frame") -> str:
    where = f"line {frame.line}" + (f", in {frame.function_name}" if frame.function_name else "")
    source = (frame.source_line or "").strip().partition("\n")[0]
    return where + (f": {source[:LINE]}" if source else "")


if __name__ == "__main__":
    main()
