"""Models under constraints on their distribution: thresholds on divergences, rewards, and products of experts."""
