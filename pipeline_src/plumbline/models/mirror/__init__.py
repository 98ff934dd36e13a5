"""Mirror maps to a space without constraints and back, and diffusion models that use them."""
