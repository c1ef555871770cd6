"""What pipeline functions import."""
