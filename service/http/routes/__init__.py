"""The endpoints: each a short list of calls."""
