"""The command `pastiche`: stylizes and upscales files and folders, through a server or without one."""
