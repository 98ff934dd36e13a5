"""Models under constraints on their distributions: divergences, rewards, and products of experts."""
