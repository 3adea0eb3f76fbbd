"""Standardised results: their schema, their statistics, their tables."""
