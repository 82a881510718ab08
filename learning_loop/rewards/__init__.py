"""Rewards: what an outcome is worth, as data; a view over what was recorded, and nothing that is kept."""
