"""Variational autoencoders, whose output may obey an equality."""
