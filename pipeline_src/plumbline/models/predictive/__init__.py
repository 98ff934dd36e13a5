"""Models that predict the state from the other variables of a sample."""
