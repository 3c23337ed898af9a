"""Arithmetic whose bits do not depend on device, threads, library version or batch layout: see README.md."""
