"""Latent constraints: critics, actors and densities in the latent space of an autoencoder.

Source: Engel, Hoffman, Roberts (ICLR 2018, https://arxiv.org/abs/1711.05772).
"""
