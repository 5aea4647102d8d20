from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.testing.prefix_cache import PrefixCache, pack_ids

# Ids that share bytes, so that a prefix of bytes isn't a prefix of ids.
_ids = st.lists(st.sampled_from([1, 2, 257, 65537]), max_size=12)
_salts = st.sampled_from(["", "tenant"])


@given(st.lists(st.tuples(_salts, _ids)), _salts, _ids)
def test_as_by_comparing_with_every_earlier_sequence(
    earlier: list[tuple[str, list[int]]], salt: str, asked: list[int]
) -> None:
    cache = PrefixCache()
    for its_salt, ids in earlier:
        cache.insert(its_salt, pack_ids(ids))

    shared = [
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, asked, strict=False)))
        for its_salt, ids in earlier
        if its_salt == salt
    ]
    assert cache.match(salt, pack_ids(asked)) == max(shared, default=0)


def test_nothing_is_left_after_clear() -> None:
    cache = PrefixCache()
    cache.insert("", pack_ids([1, 2, 3]))
    cache.clear()
    assert cache.match("", pack_ids([1, 2, 3])) == 0


def test_a_long_chain_is_kept_once() -> None:
    cache = PrefixCache()
    prompt: list[int] = []
    for step in range(100):
        prompt = prompt + [step] * 2_000
        packed = pack_ids(prompt)
        assert cache.match("", packed) == step * 2_000
        cache.insert("", packed)
