"""Classifiers and counters, which metrics and learned constraints measure by."""
