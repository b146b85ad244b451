"""What OpenAI's clients send to edit an image, and what they get."""
