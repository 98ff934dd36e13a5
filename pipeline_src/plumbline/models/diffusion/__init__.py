"""Diffusion models without constraints."""
