"""What each feature responds to: sketches of sparse codes that merge exactly, and the tables made from them."""
