"""The pytest plugin: fixtures to run state machines in virtual time with mocked tasks."""
