"""What all tests share."""

from hypothesis import settings

# The same examples on every run and machine: a red build can be reproduced, a green one means something.
settings.register_profile("deepblock", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("deepblock")
