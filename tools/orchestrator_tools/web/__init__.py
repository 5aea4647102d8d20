"""Reading public web pages for a model, and nothing that isn't public."""

from orchestrator_tools.web.addresses import PUBLIC, Addresses
from orchestrator_tools.web.allowed import Allowed
from orchestrator_tools.web.fetch import Fetcher, Page, Resolver

__all__ = ["PUBLIC", "Addresses", "Allowed", "Fetcher", "Page", "Resolver"]
