"""What somebody who wants a model does before money moves: a task from data, a template and perhaps another task's
weights, and what it will cost. Nothing here asks a node."""
