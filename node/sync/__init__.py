"""Catching up with the heaviest chain that any peer can show."""
