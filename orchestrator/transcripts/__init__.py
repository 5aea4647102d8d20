"""Where transcripts are kept: content-addressed messages, their token ids, and texts too long for a history."""

from orchestrator.transcripts.store import Node, TranscriptStore

__all__ = ["Node", "TranscriptStore"]
