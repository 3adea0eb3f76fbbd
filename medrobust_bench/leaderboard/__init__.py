"""Leaderboard tables made from results."""
