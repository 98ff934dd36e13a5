"""Figures of the report, one module per topic."""
