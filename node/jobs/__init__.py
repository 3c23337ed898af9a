"""Training, replay and scoring, in worker processes: the daemon never waits for a tensor. See README.md."""
