"""Links of an itinerary to the CMS's destinations, properties, airports, routes, activities and services, and what they learn from it."""
