"""Latent constraints: critics, actors and densities in an autoencoder's latent space (Engel, Hoffman, Roberts, ICLR 2018, https://arxiv.org/abs/1711.05772)."""
