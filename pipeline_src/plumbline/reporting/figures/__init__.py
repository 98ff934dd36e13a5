"""Figures of the report, a module a question."""
