"""How fast a chain learns, beside one process that trains alone (`make learning`; README.md: what came out)."""
