"""What watches the box and tells its administrator."""
