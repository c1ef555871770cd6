"""Imports client itineraries of a travel portal into a CMS: text, photos, film, labels, structured data."""
