"""The Open Inference Protocol, version 2, over HTTP: its messages, and its bodies."""
