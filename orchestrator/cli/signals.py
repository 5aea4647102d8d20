"""How a process that works until it is told to stop learns of it."""

import signal

import anyio
import click

__all__ = ["until_terminated"]


async def until_terminated(*, saying: str) -> None:
    """Says what works now, and returns on SIGTERM, by which service managers stop a process.

    Ctrl-C cancels it, as it does everything.
    """
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        click.echo(saying, err=True)
        async for _ in signals:
            return
