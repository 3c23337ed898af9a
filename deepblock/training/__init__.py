"""Training by the protocol: sessions, their replay, and scores. Needs torch; the daemon's process never imports it."""
