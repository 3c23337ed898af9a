"""Errors of the daemon that are for people."""


class StartError(Exception):
    """The node cannot start; the text says what happened and what to do."""
