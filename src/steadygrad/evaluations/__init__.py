"""Tests of trained networks: one module a test.

Each has `evaluate(runs, *, ...)`, whose keyword arguments are the flags of the
test and their defaults. What several share is in `trained`, for runs on tasks,
and in `corpora`, for those on music and text.
"""
