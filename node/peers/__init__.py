"""Whom to be connected to, and whom to keep out."""

from node.peers.peers import Peers, Row
from node.peers.penalties import BAN_SCORE

__all__ = ["BAN_SCORE", "Peers", "Row"]
