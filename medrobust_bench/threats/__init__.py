"""What an adversary may do to an image, and the attacks that try it."""
