"""The stepwell command."""
