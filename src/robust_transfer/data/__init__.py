"""Data sets: read as distributed, split, kept as uint8 tensors, augmented on the device."""
