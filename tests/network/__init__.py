"""Acceptance runs of whole networks of real nodes: minutes each, so by hand and not among the tests."""
