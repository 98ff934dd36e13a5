"""Variational autoencoders, whose output or latent vector may be constrained."""
