"""Published cells as data: what others printed, with the settings that they state, and how each is run here."""
