"""The only package that imports trio or libp2p; `door.Door` is its asyncio face."""
