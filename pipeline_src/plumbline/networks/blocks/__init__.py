"""Pieces that backbones share."""
