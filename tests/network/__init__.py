"""What a network of nodes does under load, lies and loss, with real processes: `python -m tests.network NAME`."""
