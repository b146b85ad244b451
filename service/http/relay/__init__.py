"""Requests that are taken by one process and answered by another."""
