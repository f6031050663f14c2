"""Texts of which language models' perplexities are published: where they come from, and how they become windows."""
