"""Accumulators of labelled series."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.messages.metrics import FAMILIES, OTHER, Kind
from flora.messages.series import BoundedLabels, Histogram, Histograms, counted

BOUNDS = FAMILIES["dispatch"].bounds


@given(values=st.lists(st.integers(-5, 20_000_000), max_size=200))
def test_given_any_values_when_counted_one_by_one_or_at_once_then_both_agree_with_counting_by_hand(values):
    one_by_one, at_once = Histogram("dispatch"), Histogram("dispatch")
    for value in values:
        one_by_one.add(value)
    at_once.add_descending(sorted((max(0, value) for value in values), reverse=True))

    counts, total = one_by_one.sample()

    edges = [-1, *BOUNDS, 1 << 62]
    real = [max(0, value) for value in values]
    assert counts == tuple(sum(low < value <= high for value in real) for low, high in itertools.pairwise(edges))
    assert total == sum(real)
    assert at_once.sample() == (counts, total)


def test_given_a_clock_that_was_set_back_when_counted_at_once_then_nothing_is_below_nought():
    histogram = Histogram("dispatch")

    histogram.add_descending([3, 2, *[-7] * 40])

    assert histogram.sample() == ((42, *[0] * len(BOUNDS)), 5)


def test_given_labels_outside_the_known_ones_when_counted_then_they_are_one():
    histograms = Histograms("dispatch", ("a",))
    for name in ("a", "b", "c"):
        histograms.add(name, "ok", 1)

    assert {labels: sum(sample[0]) for labels, sample in histograms.samples().items()} == {
        ("a", "ok"): 1,
        (OTHER, "ok"): 2,
    }


def test_given_more_values_than_may_be_when_labels_are_bounded_then_the_first_keep_theirs():
    label = BoundedLabels(2)

    assert [label(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]
    assert counted({"a": 1}) == {("a",): 1}
    assert counted({("a", "b"): 2}) == {("a", "b"): 2}


@pytest.mark.parametrize("key", FAMILIES)
def test_every_family_has_a_name_a_unit_and_bounds_that_rise(key):
    family = FAMILIES[key]

    assert family.name.startswith("flora_")
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert family.help.endswith(".")
    assert list(family.bounds) == sorted(set(family.bounds))
    assert bool(family.bounds) == (family.kind is Kind.HISTOGRAM) == family.name.endswith("_seconds")
    assert len({each.name for each in FAMILIES.values()}) == len(FAMILIES)
