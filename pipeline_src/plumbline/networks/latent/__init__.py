"""Networks over latent vectors and labels: critics that judge them, actors that move them."""
