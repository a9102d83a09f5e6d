"""Measurements behind the README's tables: `python -m benchmarks.<name> --out FILE.json`."""
