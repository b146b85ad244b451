"""The command line over files and folders: `pastiche stylize` and `pastiche upscale`, with a server or without one."""
