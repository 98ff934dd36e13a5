"""What constraints on trajectories share: each state follows from the one before."""
