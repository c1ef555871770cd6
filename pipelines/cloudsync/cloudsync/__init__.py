"""Archives a camera cloud's library into an object store, night after night. See ../README.md."""
