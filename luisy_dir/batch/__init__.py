"""Batches with named components: several items together, and what is done with them."""
