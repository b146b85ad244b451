"""Serves the networks of a model store over HTTP."""
