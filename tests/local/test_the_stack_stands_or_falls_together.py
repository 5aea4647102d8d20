import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.abc
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import HttpUrl
from temporalio.client import Client

from orchestrator.errors import ConfigurationError, EngineUnavailable
from orchestrator.local import LocalStack, PartStopped, local_stack
from orchestrator.local.ports import free_ports
from orchestrator.settings import EngineSettings, Settings, TemporalSettings

HEALTHY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@pytest.fixture(autouse=True)
def no_temporal_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def engine_url() -> AsyncIterator[str]:
    """A server that says it is healthy, and nothing else."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()
                await stream.send(HEALTHY)

    listeners = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listeners, anyio.create_task_group() as tasks:
        tasks.start_soon(listeners.serve, serve)
        yield f"http://127.0.0.1:{listeners.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


@pytest.fixture
def settings(tmp_path: Path, engine_url: str) -> Settings:
    return Settings(state=tmp_path / "state", engine=EngineSettings(urls=(HttpUrl(engine_url),)))


async def test_it_brings_up_what_the_settings_do_not_point_elsewhere(settings: Settings, engine_url: str) -> None:
    reports: list[tuple[str, str]] = []
    async with local_stack(settings, lambda part, state, _detail: reports.append((part, state))) as stack:
        assert stack.engine_urls == (engine_url,)
        assert stack.temporal_ui is not None
        await Client.connect(stack.temporal_address, namespace=stack.temporal_namespace)
        assert (stack.logs / "temporal.log").exists()
    assert reports[-1] == ("Temporal", "stopped")
    assert {("Temporal", "ready"), ("SGLang", "ready")} < set(reports)


async def test_a_configured_temporal_is_used(
    settings: Settings, temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    async with local_stack(settings) as stack:
        assert (stack.temporal_address, stack.temporal_ui) == (temporal_address, None)


async def test_a_temporal_of_a_configuration_file_is_used(
    settings: Settings, temporal_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text(f'[profile.default]\naddress = "{temporal_address}"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(file))
    async with local_stack(settings) as stack:
        assert stack.temporal_address == temporal_address


async def test_embedded_may_be_forced(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "nowhere.invalid:7233")
    forced = settings.model_copy(update={"temporal": TemporalSettings(embedded=True)})
    async with local_stack(forced) as stack:
        assert stack.temporal_address.startswith("127.0.0.1:")


async def test_a_configured_temporal_that_is_down_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(ConfigurationError, match=f"{address}.*TEMPORAL_ADDRESS"):
        async with local_stack(settings):
            pass


async def test_a_configured_engine_that_is_down_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    settings = Settings(state=tmp_path, engine=EngineSettings(urls=(HttpUrl(url),)))
    with pytest.raises(EngineUnavailable, match=url):
        async with local_stack(settings):
            pass


async def test_a_crash_cancels_the_body(settings: Settings) -> None:
    async def body() -> None:
        async with local_stack(settings) as stack:
            _crash_temporal(stack)
            await anyio.sleep_forever()

    with pytest.raises(PartStopped, match="Temporal stopped"):
        await body()


async def test_a_crash_comes_before_the_failure_that_it_causes(settings: Settings) -> None:
    async def body() -> None:
        async with local_stack(settings) as stack:
            _crash_temporal(stack)
            raise ConnectionError("the body notices first")

    with pytest.raises(PartStopped, match="Temporal stopped"):
        await body()


async def test_an_error_of_the_body_comes_out_as_it_was(settings: Settings) -> None:
    cause = KeyError("cause")
    with pytest.raises(ValueError, match="mine") as caught:
        async with local_stack(settings):
            raise ValueError("mine") from cause
    assert caught.value.__cause__ is cause


PROGRAM = """
import anyio
from orchestrator.local import local_stack
from orchestrator.settings import Settings

async def main():
    async with local_stack(Settings.load()) as stack:
        print(stack.temporal_address, flush=True)
        try:
            await anyio.sleep_forever()
        finally:
            print("body cancelled", flush=True)
    print("not reached", flush=True)

anyio.run(main)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
async def test_signals_end_it_in_order(settings: Settings, engine_url: str, number: signal.Signals, code: int) -> None:
    state = settings.state
    environment = {
        **os.environ,
        "ORCHESTRATOR_STATE": str(state),
        "ORCHESTRATOR_ENGINE__URLS": f'["{engine_url}"]',
    }
    async with await anyio.open_process(
        [sys.executable, "-c", PROGRAM], env=environment, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        output = BufferedByteReceiveStream(program.stdout)
        address = (await output.receive_until(b"\n", 1000)).decode()
        program.send_signal(number)
        assert b"".join([chunk async for chunk in output]) == b"body cancelled\n"
        assert await program.wait() == code
    host, port = address.split(":")
    with pytest.raises(OSError, match=r"All connection attempts failed|refused"):
        await anyio.connect_tcp(host, int(port))


def _crash_temporal(stack: LocalStack) -> None:
    """Kills the one process that listens on the address, as the kernel's memory killer would."""
    port = stack.temporal_address.rpartition(":")[2]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if port.encode() in words and words[0].endswith(b"/temporal"):
                os.kill(int(entry.name), signal.SIGKILL)
