"""Tests for a store of your own: what every store keeps, random histories, many processes, failures.

`contract` holds the tests, `machine` the random histories, `recording` runs many processes or threads at once and
`history` checks what they saw. The first two need pytest and Hypothesis: ``pip install 'onerefresh[testing]'``.
"""
