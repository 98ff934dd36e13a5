"""Plumbline: generative models that must obey constraints, trained, sampled and compared."""

__version__ = "0.1.0"
