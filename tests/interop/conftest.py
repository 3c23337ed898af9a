"""These tests install other people's programs when they first run, and take their time."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "interop" in str(item.path):
            item.add_marker(pytest.mark.timeout(900))
