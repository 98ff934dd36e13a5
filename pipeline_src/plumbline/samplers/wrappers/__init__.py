"""Azula denoisers and samplers that wrap another one. They import torch; the specs beside do not."""
