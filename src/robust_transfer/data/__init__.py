"""Data sets: read as distributed, split, kept as uint8 tensors and augmented on the device.

Large photographs to train on are kept as files instead, decoded and cropped by threads.
"""
