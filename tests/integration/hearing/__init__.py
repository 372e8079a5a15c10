"""What the tests have in common: speech to hear, and what was told of it."""
