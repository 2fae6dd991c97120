"""The modules that networks share: one file a module."""
