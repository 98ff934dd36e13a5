"""Models that predict a state from what is known of it."""
