"""One execution as a pure state machine: event in, effects out."""
