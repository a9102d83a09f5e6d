"""Batched tensor environments: pure torch, any leading shape, nothing of `imitate`."""
