"""File layouts of checkpoints, a file each; `registry.LAYOUTS` lists them."""
