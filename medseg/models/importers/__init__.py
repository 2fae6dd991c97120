"""Checkpoints of other projects, turned into weights of this one."""
