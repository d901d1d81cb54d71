"""Calls: what coturn is told of the box it runs on, and a client of it."""
