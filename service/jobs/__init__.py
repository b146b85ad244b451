"""Asynchronous jobs: queued, run in the background, kept on disk."""
