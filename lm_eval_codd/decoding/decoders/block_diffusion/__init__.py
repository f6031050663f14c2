"""Block diffusion: blocks from left to right under block-causal attention, by the rule of the family; a file a rule."""
