"""Network presets (`consensus.params.Params` as JSON), found by `node.config.load_params`, and beside
each, if there is one, the list of nodes to begin with (`load_bootstrap`)."""
