"""The training loop, its log and its saved state."""
