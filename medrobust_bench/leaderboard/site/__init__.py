"""The leaderboard as static pages: no server, no request beyond the files, readable from file://."""
