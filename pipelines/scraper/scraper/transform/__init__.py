"""From the portal's itinerary to the CMS's: pure functions, no I/O."""
