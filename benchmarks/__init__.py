"""Benchmarks of speed and memory: `python -m benchmarks NAME`, with a name of `benchmarks.__main__.BENCHMARKS`.

Linux only: psutil reports PSS there, and the largest RSS of a process comes from /proc.
"""
