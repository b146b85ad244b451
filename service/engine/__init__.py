"""Runs networks on one device: admission, scheduling of tiles, backends. Imports no HTTP library."""
