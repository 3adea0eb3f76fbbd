"""Adversaries: how each kind of threat searches for an image that breaks an answer."""
