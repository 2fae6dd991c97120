"""Encoders: an image to features, fine to coarse; one file a family."""
