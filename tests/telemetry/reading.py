"""Prometheus's text as values."""

from collections.abc import Mapping

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Reading"]


class Reading:
    """One answer of `/metrics`."""

    def __init__(self, text: bytes) -> None:
        self.families: Mapping[str, Metric] = {
            family.name: family for family in text_string_to_metric_families(text.decode())
        }

    def sum(self, name: str, /, **labels: str) -> float:
        """Of the samples of that name that have these labels."""
        return sum(self.by(name, **labels).values())

    def by(self, name: str, /, *keys: str, **labels: str) -> dict[tuple[str, ...], float]:
        """The samples of that name that have these labels, summed by the labels `keys`."""
        sums: dict[tuple[str, ...], float] = {}
        for family in self.families.values():
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    key = tuple(sample.labels[label] for label in keys)
                    sums[key] = sums.get(key, 0.0) + sample.value
        return sums
