"""The scripted engine in a process of its own: `python -m orchestrator.testing.serve`, with `--script` or `--seed`.

`GET /scripted/served` tells what it has computed, request by request.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import click

from orchestrator.errors import OrchestratorError
from orchestrator.testing.chaos import Chaos
from orchestrator.testing.engine import scripted_engine
from orchestrator.testing.replies import Script, replies_from_json

__all__ = ["main"]

_share = click.FloatRange(0, 1)


@click.command()
@click.option("--port", default=0, show_default="a free one")
@click.option("--script", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON array of replies.")
@click.option("--seed", type=int, help="Answer whatever comes, and go wrong at the given rates.")
@click.option("--fail", type=_share, default=0.0, help="With --seed: share refused with 503.")
@click.option("--break-off", type=_share, default=0.0, help="With --seed: share cut off in mid-answer.")
@click.option("--hang", type=_share, default=0.0, help="With --seed: share never begun.")
@click.option("--tokens-per-second", type=float, help="With --seed: of answers.")
@click.option("--model", default="scripted", show_default=True)
@click.option("--context-length", default=262_144, show_default=True)
@click.option("--tool-call-parser", default="qwen25", show_default=True)
@click.option("--reasoning-parser", default=None)
@click.option("--facts", type=click.Path(file_okay=False, path_type=Path), help="Record requests in this folder.")
@click.option(
    "--facts-of-disconnected/--no-facts-of-disconnected", default=True, help="Of clients that went away, too."
)
def main(
    script: Path | None,
    seed: int | None,
    fail: float,
    break_off: float,
    hang: float,
    tokens_per_second: float | None,
    **engine: Any,
) -> None:
    """Play the JSON array of replies in SCRIPT, in order, or answer at random, until interrupted."""
    if (script is None) == (seed is None):
        raise click.UsageError("Give either --script or --seed.")
    try:
        played: Script = (
            Chaos(seed=seed, fail=fail, break_off=break_off, hang=hang, tokens_per_second=tokens_per_second)
            if seed is not None
            else replies_from_json(script.read_bytes() if script is not None else b"")
        )
    except OrchestratorError as error:
        click.echo(f"scripted engine: {error}", err=True)
        raise SystemExit(error.exit_code) from error
    try:
        anyio.run(_serve, played, engine)
    except KeyboardInterrupt:
        return


async def _serve(script: Script, options: Mapping[str, Any]) -> None:
    async with scripted_engine(script, **options) as engine:
        click.echo(f"scripted engine on {engine.url}")
        await anyio.sleep_forever()


if __name__ == "__main__":
    main()
