"""How well exact training trains, beside float32 (`make accuracy`; deepblock/exact/MEASURED.md: Precision)."""
