"""What a Task state's Resource can name."""
