"""Linear algebra without matrices where structure allows: linear maps, Gram matrices, covariances and their conditioning."""
