"""Classifiers and counters of images, used by metrics and learned constraints."""
