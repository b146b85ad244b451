"""What clients of AUTOMATIC1111's web UI send to enlarge images, and what they get."""
