"""Metrics, trace context and logs."""
