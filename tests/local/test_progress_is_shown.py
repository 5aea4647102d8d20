import io

from rich.console import Console

from orchestrator.local import Progress


def _shown(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
    with Progress(console) as report:
        report("Temporal", "starting", "on this machine")
        report("SGLang", "starting", "loading [model]")
        report("Temporal", "ready", "127.0.0.1:7233")
        report("SGLang", "failed", "it broke\nits log")
        report("Temporal", "stopped", "")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_lines_where_there_is_no_terminal() -> None:
    assert _shown(terminal=False).splitlines() == [
        "Temporal: starting (on this machine)",
        "SGLang: starting (loading [model])",
        "Temporal: ready after 0.0 s (127.0.0.1:7233)",
        "SGLang: failed (it broke)",
        "Temporal: stopped",
    ]


def test_one_row_per_part_on_a_terminal() -> None:
    shown = _shown(terminal=True)
    assert "✔ Temporal 0.0 s 127.0.0.1:7233" in shown
    assert "✘ SGLang   0.0 s it broke" in shown
    assert shown.rstrip().endswith("Temporal: stopped")
