"""The dashboard: what people see and may do, as an HTTP API (section 12)."""
