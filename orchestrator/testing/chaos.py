"""A script that goes wrong at given rates, the same way each time, whatever the order in which requests come.

Pure.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.errors import DefinitionError
from orchestrator.testing.replies import Break, Fail, Hang, Reply, Say
from orchestrator.testing.requests import ScriptedRequest

__all__ = ["Chaos"]

WORDS = ("the", "engine", "counts", "every", "token", "that", "it", "makes", "and", "the", "ledger", "has", "each")


@dataclass(frozen=True, kw_only=True)
class Chaos:
    """Decides by the seed, the prompt, and how often that prompt came before.

    ```python
    async with scripted_engine(Chaos(seed=7, fail=0.25, break_off=0.1)) as engine:
        ...
    ```
    """

    seed: int
    fail: float = 0.0
    """Share of requests refused with 503, half of them as a proxy does and half as SGLang's full queue does."""
    break_off: float = 0.0
    """Share whose connection closes in mid-answer."""
    hang: float = 0.0
    """Share that stay in the queue until they are aborted, or their client gives up."""
    at_most: int = 2
    """How often the same prompt goes wrong; after that it is answered, so that every run can end."""
    tokens_per_second: float | None = None
    """Of answers. With a rate, a client can be killed in mid-answer."""
    otherwise: Callable[[ScriptedRequest], Reply] | None = None
    """What is answered where nothing goes wrong; by default some 5 to 60 tokens of text."""

    def __post_init__(self) -> None:
        shares = (self.fail, self.break_off, self.hang)
        if min(shares) < 0 or sum(shares) > 1:
            raise DefinitionError(
                "Chaos",
                problem=f"its shares {shares} aren't parts of a whole",
                remedy="Give fractions from 0 to 1 that add up to 1 at most",
            )

    def __call__(self, request: ScriptedRequest) -> Reply:
        """The reply to a request."""
        if request.attempt > self.at_most:
            return self._answer(request)
        fate = self._random(request, "fate")
        if fate < self.fail:
            return Fail(status=503, message="chaos", in_stream=request.stream and fate < self.fail / 2)
        if fate < self.fail + self.break_off:
            return Break(after_tokens=int(1 + 20 * self._random(request, "broken after")))
        if fate < self.fail + self.break_off + self.hang:
            return Hang()
        return self._answer(request)

    def _answer(self, request: ScriptedRequest) -> Reply:
        if self.otherwise is not None:
            return self.otherwise(request)
        length = int(5 + 50 * self._random(request, "length"))
        first = int(len(WORDS) * self._random(request, "first word"))
        text = " ".join(WORDS[(first + number) % len(WORDS)] for number in range(length))
        return Say(text, tokens_per_second=self.tokens_per_second)

    def _random(self, request: ScriptedRequest, what: str) -> float:
        """From 0 up to 1; another number for each thing that is decided."""
        said = f"{self.seed}|{request.attempt}|{what}|".encode() + request.packed_prompt
        return int.from_bytes(hashlib.sha256(said).digest()[:7], "big") / 2**56
