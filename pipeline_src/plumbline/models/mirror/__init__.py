"""Mirror maps: models that are trained where nothing is constrained, and the maps that lead there and back."""
