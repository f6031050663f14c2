"""Hidden Markov circuits: evidence in, log Z, latent paths and exact marginals out; and the files they live in."""
