"""Tests for a store of your own: the contract of every store, random histories, many processes, failures.

`contract` has the tests, `machine` the random histories. `recording` runs many processes or threads at the same time,
and `history` checks what they saw. The first two need pytest and Hypothesis: ``pip install 'onerefresh[testing]'``.
"""
