"""Stand-ins for the services cloudsync talks to: they keep the documented contract, failures included."""
