"""The node's answers to programs: JSON-RPC 2.0 over HTTP and WebSocket, and files by their CID."""
