"""Who may do what, and how much of it: API keys, rights, quotas."""
