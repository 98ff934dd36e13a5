"""Models whose samples obey linear equalities by construction."""
