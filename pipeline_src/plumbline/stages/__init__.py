"""Stages: one function a rule, glue between the stores and the library."""
