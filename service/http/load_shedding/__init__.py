"""Refuses requests early while the service is full."""
