"""What the box's own programs share. Standard library only; Python 3.11 and later."""
