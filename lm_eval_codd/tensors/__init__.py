"""What rooms of tensor maths share."""
