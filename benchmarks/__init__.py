"""What measures speed and memory: `python -m benchmarks engine | serve | overload | interference | memory`.

Linux only: memory is read from /proc.
"""
