"""Generated tasks that isolate dependent tokens: with a joint answer, and controls with one right answer."""
