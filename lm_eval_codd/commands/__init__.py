"""Commands that stand above all rooms."""
