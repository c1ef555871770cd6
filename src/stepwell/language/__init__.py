"""The Amazon States Language: text in, model and diagnostics out. Pure."""
