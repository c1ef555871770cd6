"""The embedded host: journal, timers, dispatch, recovery, virtual clock."""
