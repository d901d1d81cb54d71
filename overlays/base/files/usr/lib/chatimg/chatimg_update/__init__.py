"""Update and rollback on the box (docs/update.md)."""
