"""`python -m orchestrator.testing.serve --port P --script FILE.json`: the scripted engine in a process of its own."""

from pathlib import Path

import anyio
import click

from orchestrator.errors import OrchestratorError
from orchestrator.testing.engine import scripted_engine
from orchestrator.testing.replies import Reply, replies_from_json

__all__ = ["main"]


@click.command()
@click.option("--port", default=0, show_default="a free one")
@click.option("--script", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="scripted", show_default=True)
@click.option("--context-length", default=262_144, show_default=True)
@click.option("--reasoning-parser", default=None)
def main(port: int, script: Path, model: str, context_length: int, reasoning_parser: str | None) -> None:
    """Play the JSON array of replies in SCRIPT, in order, until interrupted."""
    try:
        replies = replies_from_json(script.read_bytes())
    except OrchestratorError as error:
        click.echo(f"scripted engine: {error}", err=True)
        raise SystemExit(error.exit_code) from error
    try:
        anyio.run(_serve, replies, port, model, context_length, reasoning_parser)
    except KeyboardInterrupt:
        return


async def _serve(
    replies: list[Reply], port: int, model: str, context_length: int, reasoning_parser: str | None
) -> None:
    async with scripted_engine(
        replies, port=port, model=model, context_length=context_length, reasoning_parser=reasoning_parser
    ) as engine:
        click.echo(f"scripted engine on {engine.url}")
        await anyio.sleep_forever()


if __name__ == "__main__":
    main()
