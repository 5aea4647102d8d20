"""Which part of a prompt an engine with a radix cache would already hold.

Imports nothing but the standard library. A radix tree over token ids, one for each cache salt. It never evicts.
"""

from array import array
from dataclasses import dataclass, field

__all__ = ["PrefixCache", "pack_ids"]

_SIZE = array("I").itemsize


def pack_ids(ids: list[int]) -> bytes:
    """`ids` as the tree compares them.

    Raises:
        OverflowError: an id is negative, or has more than 32 bits.
    """
    return array("I", ids).tobytes()


@dataclass(slots=True)
class _Node:
    edge: bytes
    """Packed ids from the parent down to here."""
    children: dict[bytes, "_Node"] = field(default_factory=dict[bytes, "_Node"])
    """By their edge's first id."""


class PrefixCache:
    """Remembers token sequences; tells how long a prefix of a new one it has seen under the same salt."""

    def __init__(self) -> None:
        self._roots: dict[str, _Node] = {}

    def match(self, salt: str, tokens: bytes) -> int:
        """How many leading tokens of the packed `tokens` were inserted before."""
        root = self._roots.get(salt)
        return _walk(root, tokens)[2] // _SIZE if root else 0

    def insert(self, salt: str, tokens: bytes) -> None:
        root = self._roots.setdefault(salt, _Node(b""))
        node, inside, place = _walk(root, tokens)
        if place == len(tokens):
            return
        if inside < len(node.edge):
            # The new sequence leaves in the middle of this edge: its tail moves to a node of its own.
            node.children = {node.edge[inside : inside + _SIZE]: _Node(node.edge[inside:], node.children)}
            node.edge = node.edge[:inside]
        node.children[tokens[place : place + _SIZE]] = _Node(tokens[place:])

    def clear(self) -> None:
        self._roots.clear()


def _walk(root: _Node, tokens: bytes) -> tuple[_Node, int, int]:
    """The node where `tokens` leave the tree, the bytes shared with its edge, and the bytes shared in all."""
    node, place = root, 0
    while child := node.children.get(tokens[place : place + _SIZE]):
        if not tokens.startswith(child.edge, place):
            inside = _shared(child.edge, tokens[place : place + len(child.edge)])
            return child, inside, place + inside
        node, place = child, place + len(child.edge)
    return node, len(node.edge), place


def _shared(left: bytes, right: bytes) -> int:
    """Length in bytes of the longest common prefix of whole ids."""
    low, high = 0, min(len(left), len(right)) // _SIZE
    while low < high:
        middle = (low + high + 1) // 2
        if right.startswith(left[low * _SIZE : middle * _SIZE], low * _SIZE):
            low = middle
        else:
            high = middle - 1
    return low * _SIZE
