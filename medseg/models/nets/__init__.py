"""What the networks build: one file a network."""
