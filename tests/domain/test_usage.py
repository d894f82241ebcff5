"""Usage adds up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloche.domain.usage import Usage

counts = st.integers(0, 10**9)
usages = st.builds(Usage, input_tokens=counts, output_tokens=counts, model_calls=counts, tool_calls=counts)


def test_each_count_is_added_to_its_own():
    one = Usage(input_tokens=1, output_tokens=2, model_calls=3, tool_calls=4)
    other = Usage(input_tokens=10, output_tokens=20, model_calls=30, tool_calls=40)

    assert one + other == Usage(input_tokens=11, output_tokens=22, model_calls=33, tool_calls=44)


@given(usages, usages, usages)
def test_the_order_does_not_matter_and_nothing_changes_nothing(one: Usage, other: Usage, third: Usage):
    assert one + other == other + one
    assert (one + other) + third == one + (other + third)
    assert one + Usage() == one
