"""What commands read from who typed them, and say: flags, errors of one line, tables, their own name."""
