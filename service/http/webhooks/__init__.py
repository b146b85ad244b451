"""Webhooks: what is sent to the callback URL of a job, signed, and to which addresses."""
