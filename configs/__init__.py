"""Network presets (`consensus.params.Params` as JSON), found by `node.config.load_params`."""
