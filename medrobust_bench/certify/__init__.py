"""Provable lower bounds on robust accuracy."""
