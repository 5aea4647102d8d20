"""Tool servers: programs and services that bring tools of their own, over the Model Context Protocol.

Pure; imports nothing that does I/O. What workers do with them is in `orchestrator.mcp`.
"""

import re
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Protocol, get_args

from pydantic import BaseModel, ConfigDict, JsonValue, SecretStr, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from orchestrator.approvals import Approval, Effect
from orchestrator.errors import DefinitionError, InvalidInput, UnknownName
from orchestrator.messages import ToolSpec
from orchestrator.tool import MAX_RESULT, Tool, ToolOwner, problem_of, require_price

__all__ = [
    "FromEnvironment",
    "ListedTool",
    "MCPServer",
    "Secret",
    "ServerOwner",
    "ServerTool",
    "ServerTools",
    "ToolListing",
    "parse_arguments",
]


@dataclass(frozen=True, kw_only=True)
class FromEnvironment:
    """A value that each worker takes from its own environment when it opens the server; it is treated as a secret."""

    variable: str = field(kw_only=False)
    prefix: str = ""
    """Put before it: `"Bearer "`."""


SLACK = timedelta(seconds=10)
"""What ending a session that hangs may take."""

Secret = str | SecretStr | FromEnvironment
"""A value of a server's environment or headers. Only a plain `str` may show up in an error or a result."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MCPServer:
    """A server whose tools runs may call: a program of its own (`command`), or a service (`url`).

    Each worker process keeps one session with it, which all runs share, and opens another one when it ends.
    """

    name: str = field(kw_only=False)
    """Lower-case letters, digits and dashes. The model sees its tools as `<name>_<tool>`."""
    command: Sequence[str] | None = None
    """A program that speaks MCP over its standard input and output, and its arguments. Started by the worker, in the
    worker's folder; it ends with the worker, however that ends."""
    url: str | None = None
    """Of a service that speaks MCP over streamable HTTP."""
    env: Mapping[str, Secret] = field(default_factory=dict[str, Secret], repr=False)
    """Variables for `command`, on top of `HOME`, `LOGNAME`, `PATH`, `SHELL`, `TERM` and `USER`; it sees no others."""
    headers: Mapping[str, Secret] = field(default_factory=dict[str, Secret], repr=False)
    """Sent with each request to `url`."""
    effect: Effect = "write"
    """What calling a tool does that nothing else is known of."""
    effects: Mapping[str, Effect] = field(default_factory=dict[str, Effect])
    """What calling a tool does, by the server's own name of it; stands above everything else."""
    trust_annotations: bool = False
    """Whether to believe what the server says of a tool: `readOnlyHint`, `idempotentHint`. Nothing else vouches for
    them; a read that isn't one may be made more than once."""
    include: Collection[str] | None = None
    """The tools to offer, by the server's own names; `None` is all of them. One that isn't there is an error."""
    exclude: Collection[str] = ()
    """The tools not to offer."""
    approval: Approval | None = None
    """What becomes of the model's calls of its tools; `None`: what the app's approvals say of each tool's effect."""
    timeout: timedelta = timedelta(seconds=30)
    """Of one attempt of a call."""
    start_timeout: timedelta = timedelta(seconds=30)
    """Until the server has said what tools it has."""
    max_result: int = MAX_RESULT
    """Bytes of text that a call may return."""
    price: Decimal | None = None
    """US dollars for one attempt of a call, whatever becomes of it."""
    task_queue: str | None = None
    """Where its calls run, if not with the app's other tools."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", self.name):
            self._refuse("its name doesn't fit", "Use up to 32 lower-case letters, digits and dashes.")
        self._check_address()
        if self.approval is not None and self.approval not in get_args(Approval):
            self._refuse(f"its approval is {self.approval!r}", "Say 'ask', 'grant' or 'refuse'.")
        for tool, effect in {"": self.effect, **self.effects}.items():
            if effect not in get_args(Effect):
                whose = f" of {tool!r}" if tool else ""
                self._refuse(f"the effect{whose} is {effect!r}", "Say 'read', 'idempotent' or 'write'.")
        if self.include is not None and self.exclude:
            self._refuse("it has both include and exclude", "Give one of them.")
        if isinstance(self.include, str) or isinstance(self.exclude, str):
            self._refuse("its tools are named by one string", "Give their names as a list.")
        for name, value in (("timeout", self.timeout), ("start_timeout", self.start_timeout)):
            if value <= timedelta(0):
                self._refuse(f"its {name} isn't positive", f"Give {name}=timedelta(...).")
        require_price(f"tool server {self.name!r}", self.price)

    @property
    def address(self) -> str:
        """The command or the URL, for people to read: without what may be secret in a URL."""
        if self.url is None:
            return " ".join(self.command or ())
        parts = urllib.parse.urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    @property
    def price_nano(self) -> int:
        """`price` in the ledger's unit."""
        return 0 if self.price is None else int(self.price.scaleb(9))

    @property
    def list_activity(self) -> str:
        """The name of the activity that asks what tools there are."""
        return f"{self.name}.list_tools"

    @property
    def call_activity(self) -> str:
        """The name of the activity that calls a tool."""
        return f"{self.name}.call_tool"

    @property
    def patience(self) -> timedelta:
        """How long Temporal waits for the list of its tools."""
        return 2 * self.start_timeout + SLACK

    def offers(self, tool: str) -> bool:
        """Whether runs may see a tool."""
        return tool not in self.exclude if self.include is None else tool in self.include

    def _check_address(self) -> None:
        if (self.command is None) == (self.url is None):
            which = "neither a command nor a url" if self.command is None else "both a command and a url"
            self._refuse(f"it has {which}", "Give one of them: command=(...) for a program, url=... for a service.")
        if self.command is not None:
            if isinstance(self.command, str) or not self.command or not all(self.command):
                self._refuse(
                    f"its command {self.command!r} is no list of words", "Write command=('python', 'server.py')."
                )
            if self.headers:
                self._refuse("a program gets no headers", "Hand it what it needs with env=...")
        if self.url is not None:
            if not re.match(r"https?://[^/\s]", self.url):
                self._refuse(f"its url {self.url!r} isn't one", "Write url='https://...'.")
            if self.env:
                self._refuse("a service has no env", "Send it what it needs with headers=...")

    def _refuse(self, problem: str, remedy: str) -> None:
        raise DefinitionError(f"tool server {self.name!r}", problem=problem, remedy=remedy)


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True)


class ListedTool(_Payload):
    """A tool as a run found it at its server."""

    name: str
    """The server's own name of it."""
    offered: str
    """The name that the model sees: no other tool of the app has it, and every engine takes it."""
    description: str
    parameters: dict[str, JsonValue]
    """JSON Schema of the arguments; refers to nothing outside itself."""
    effect: Effect


class ToolListing(_Payload):
    """What a server offers to a run, from its first question to its end."""

    tools: tuple[ListedTool, ...]
    left_out: dict[str, str] = {}
    """Tools that can't be offered, with the reason."""


class ServerOwner(ToolOwner, Protocol):
    """An app, as its own runs see it."""

    @property
    def servers(self) -> Sequence[MCPServer]:
        """The servers that its workers reach."""
        ...


def parse_arguments(tool: str, text: str) -> dict[str, Any]:
    """Arguments by name out of JSON text; whether they fit the tool's schema, the worker says.

    Raises:
        InvalidInput: it is no JSON object.
    """
    try:
        return TypeAdapter(dict[str, Any]).validate_json(text or "{}")
    except ValidationError as error:
        raise InvalidInput(f"tool {tool!r}", problem_of(error)) from error


class ServerTool(Tool[..., JsonValue]):
    """A tool of a server, as a run found it; called by the model, or by `ctx.call` with arguments by name.

    `ctx.call` returns the structured content of the result where there is some, else its text.
    """

    timeout_setting = "MCPServer(timeout=...)"

    def __init__(self, server: MCPServer, listed: ListedTool) -> None:
        # Not Tool's own: there is no function here, hence no signature to make a schema of.
        self.server = server
        self.listed = listed
        self.name = listed.offered
        self.effect = listed.effect
        self.approval = server.approval
        self.timeout = server.timeout
        self.max_result = server.max_result
        self.price = server.price
        self.task_queue = server.task_queue
        self.result: TypeAdapter[Any] = TypeAdapter(Any)
        self.spec = ToolSpec(name=self.name, description=listed.description, parameters=listed.parameters)

    def __repr__(self) -> str:
        return f"ServerTool({self.name!r}, effect={self.effect!r}, server={self.server.name!r})"

    @property
    def activity(self) -> str:
        return self.server.call_activity

    @property
    def patience(self) -> timedelta:
        """Long enough to start the server, make the call, and say that it took too long."""
        return self.server.start_timeout + self.timeout + SLACK

    def bind(self, *args: Any, **kwargs: Any) -> str:
        """The arguments of a call as JSON text; whether they fit its schema, the worker says.

        Raises:
            InvalidInput: some aren't given by name, or aren't JSON.
        """
        if args:
            raise InvalidInput(f"tool {self.name!r}", "give its arguments by name")
        try:
            return TypeAdapter(dict[str, Any]).dump_json(kwargs).decode()
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise InvalidInput(f"tool {self.name!r}", str(error)) from error

    def parse(self, arguments: str) -> dict[str, Any]:
        return parse_arguments(self.name, arguments)


class ServerTools(tuple[ServerTool, ...]):
    """The tools of a server, as a run found them."""

    left_out: Mapping[str, str]
    """Tools of the server that can't be offered, with the reason."""

    @classmethod
    def of(cls, server: MCPServer, listing: ToolListing) -> "ServerTools":
        """The tools that a listing names."""
        tools = cls(ServerTool(server, listed) for listed in listing.tools)
        tools.left_out = listing.left_out
        return tools

    def named(self, name: str) -> ServerTool:
        """One tool, by the server's own name or by the one that the model sees.

        Raises:
            UnknownName: there is none of that name.
        """
        for tool in self:
            if name in (tool.listed.name, tool.name):
                return tool
        raise UnknownName("tool of the server", name, [tool.listed.name for tool in self])
