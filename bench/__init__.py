"""Measurements for anybody to repeat: `python -m bench` rewrites the tables of docs/benchmarks.md and comparison.md."""
