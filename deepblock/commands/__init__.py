"""What `deepblock` does, one function a command: `command(context, options) -> exit status`."""
