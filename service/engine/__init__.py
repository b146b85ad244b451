"""Runs networks on one device: admission, scheduling of tiles, backends. No HTTP."""
