"""From cells to numbers, and from numbers to the papers' layouts."""
