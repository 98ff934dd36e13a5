"""Diffusion models of the data as it is."""
