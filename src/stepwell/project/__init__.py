"""What a project declares in stepwell.toml."""
