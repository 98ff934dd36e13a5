"""Solvers of partial differential equations: batched torch on any device, without files."""
