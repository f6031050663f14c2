"""What is on disks: written whole or not at all, and read without trusting it."""
