"""Stages: one function per rule, which connects the stores with the library."""
