"""Rescorla-Wagner and kin: simulate conditioning, act in environments, fit to behaviour."""
