"""Distributions under linear equality constraints."""
