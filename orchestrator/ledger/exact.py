"""Money arithmetic inside the database: what `Price.cost` does, in 64-bit integers that never overflow.

Unit price times quantity of a long GPU window passes 2⁶³, where PostgreSQL refuses and SQLite goes over to floating
point. So each price is taken apart into whole units of the divisor and the rest, and only the rest is multiplied out.
Every result is rounded half up, once.
"""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, case, func, literal

from orchestrator.ledger.prices import HOUR_US, MILLION

__all__ = ["MAX_PRICE_NANO", "cache_saving", "floor_div", "gpu_cost", "known", "token_cost"]

MAX_PRICE_NANO = 10**15
"""A million dollars for a million tokens or for a GPU-hour; more is a slip of the pen, and could pass 64 bits."""

Number = ColumnElement[int]

_ROOT = 60_000
assert _ROOT * _ROOT == HOUR_US


def floor_div(number: Number, divisor: int) -> Number:
    """Division that rounds down, below zero too, where SQL's own rounds towards zero."""
    by = _whole(divisor)
    return (number - ((number % by + by) % by)) // by


def token_cost(prompt: Number, cached: Number, output: Number, price: Any) -> Number:
    """Nano-dollars of tokens, neither null nor negative, at a price's `input_price`, `cached_price`, `output_price`."""
    hit = case((cached > prompt, prompt), else_=cached)
    whole, rest = _whole(0), _whole(MILLION // 2)
    for count, unit in ((prompt - hit, price.input_price), (hit, price.cached_price), (output, price.output_price)):
        whole = whole + count * (unit // _whole(MILLION))
        rest = rest + count * (unit % _whole(MILLION))
    return whole + rest // _whole(MILLION)


def cache_saving(cached: Number, price: Any) -> Number:
    """Nano-dollars that cached tokens cost less than uncached ones would have."""
    million = _whole(MILLION)
    whole = price.input_price // million - price.cached_price // million
    rest = price.input_price % million - price.cached_price % million
    return cached * whole + floor_div(cached * rest + _whole(MILLION // 2), MILLION)


def gpu_cost(gpu_us: Number, price: Number) -> Number:
    """Nano-dollars of GPU time, neither null nor negative, at a price for a GPU-hour."""
    hour, root = _whole(HOUR_US), _whole(_ROOT)
    hours, rest = gpu_us // hour, gpu_us % hour
    whole, part = price // hour, price % hour
    # rest * part / (root * root), with rest = high * root + low
    product = (rest // root) * part
    small = (product % root) * root + (rest % root) * part + _whole(HOUR_US // 2)
    return gpu_us * whole + hours * part + product // root + small // hour


def known(figure: Any) -> Number:
    """A figure, zero where it is unknown."""
    return func.coalesce(figure, _whole(0))


def _whole(number: int) -> Number:
    return literal(number, BigInteger)
