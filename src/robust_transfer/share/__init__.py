"""A table with all that it was made from, packed for others, and checked anywhere."""
