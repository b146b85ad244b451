"""The service on several machines, by Ray Serve: an ingress that relays, and replicas with a device each."""
