"""Decoders: each says where the network looks and what is written there."""
