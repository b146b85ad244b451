"""Videos, frame by frame: painted or enlarged, with their sound and their timing. Needs the extra `video`."""
