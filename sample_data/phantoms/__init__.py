"""Phantoms of an abdominal CT and a brain MR: anatomy by formula, another patient by each seed."""
