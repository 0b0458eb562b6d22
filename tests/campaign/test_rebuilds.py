"""A finished study's nodes made once more, many of them, with as many threads as before and with others: what came out
again with the same bits, and what within its intervals.

`python -m pytest -m campaign tests/campaign/test_rebuilds.py -s` says how many there were.
"""

from collections import Counter

import pytest

from robust_transfer.audit.rebuild import Rebuilder

pytestmark = pytest.mark.campaign
REBUILDS, WITH_OTHER_THREADS = 110, 40


def told(what, found):
    counts = Counter((each.kind, each.outcome) for each in found)
    print(
        f"\n{len(found)} rebuilds {what}: " + ", ".join(f"{n} {' '.join(each)}" for each, n in sorted(counts.items()))
    )
    return [f"{each.id}: {each.outcome} {each.why} {each.difference} {each.numbers}" for each in found]


def test_nodes_come_out_again_with_the_same_bits(finished):
    builder = Rebuilder(finished.results)
    found = [builder.rebuilt(i) for i in builder.sample(REBUILDS, [], seed=1)]
    sentences = told("with the same threads", found)
    assert len(found) >= 100
    assert {each.outcome for each in found} == {"same"}, "\n".join(sentences)


def test_with_other_threads_numbers_stay_within_their_intervals(finished):
    builder = Rebuilder(finished.results, threads=2)
    found = [builder.rebuilt(i) for i in builder.sample(WITH_OTHER_THREADS, [], seed=2)]
    sentences = told("with two threads instead of one", found)
    assert {each.outcome for each in found} <= {"same", "within"}, "\n".join(sentences)
