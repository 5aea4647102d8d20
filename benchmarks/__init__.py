"""Benchmarks: each prints a table, and with `--json` one object with its figures and its baseline's."""
