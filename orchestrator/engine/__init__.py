"""Engines: who does the thinking. One module speaks to SGLang, one builds prompts that keep its prefix cache warm."""

from orchestrator.engine.prompts import Prompt, Prompts
from orchestrator.engine.sglang import EngineRequest, Generation, ServerInfo, SGLang

__all__ = ["EngineRequest", "Generation", "Prompt", "Prompts", "SGLang", "ServerInfo"]
