"""How likely the tokens of a reply are, in the shape that SGLang says it.

Shapes only: what a script says of a reply is what the request is told.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from orchestrator.testing.replies import Say
from orchestrator.testing.tokenizer import piece
from orchestrator.testing.wire import GenerateBody

__all__ = ["Measures"]

NEXT_TO_NONE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What a request wants to know of its tokens."""

    candidates: int
    """Of each token, so many of the likeliest."""
    labels: Sequence[int]
    """Of each place, the probability of these tokens."""

    @classmethod
    def wanted(cls, body: GenerateBody) -> "Measures | None":
        """Those of a request; `None` where it wants none."""
        if not body.return_logprob:
            return None
        return cls(candidates=body.top_logprobs_num, labels=tuple(body.token_ids_logprob or ()))

    def of(self, said: Say, ids: Sequence[int]) -> Mapping[str, JsonValue]:
        """Fields of `meta_info`, of the tokens so far: `[log p, token, text]` each, the text left out."""
        fields: dict[str, JsonValue] = {
            "output_token_logprobs": [[math.log(said.likelihood), token, None] for token in ids]
        }
        if self.candidates:
            fields["output_top_logprobs"] = [
                [[-said.confidence_of(place), token, None] for _ in range(self.candidates)]
                for place, token in enumerate(ids)
            ]
        if self.labels:
            of_labels: list[JsonValue] = [
                [math.log(said.probabilities.get(piece(label), NEXT_TO_NONE)), label, None] for label in self.labels
            ]
            fields["output_token_ids_logprobs"] = [of_labels for _ in ids]
        return fields
