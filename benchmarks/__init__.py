"""Measurements behind docs/results.md and docs/performance.md: `python -m benchmarks.<name> --out FILE.json`."""
