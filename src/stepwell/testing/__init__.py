"""pytest plugin, mocks, virtual time."""
