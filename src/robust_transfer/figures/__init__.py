"""The papers' figures, each kind of drawing in its file."""
