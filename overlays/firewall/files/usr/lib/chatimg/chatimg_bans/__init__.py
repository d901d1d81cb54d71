"""Addresses that the box does not talk to: the administrator's list of banned ranges."""
