"""Spaces that models are trained in."""
