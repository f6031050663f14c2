"""What commands read from and say to the one who typed them."""
