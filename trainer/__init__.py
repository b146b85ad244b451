"""Makes the networks that the service serves (Johnson et al. 2016)."""
