"""Stores on many machines: storms, what a refresh costs, a million records, and thousands who are woken."""
