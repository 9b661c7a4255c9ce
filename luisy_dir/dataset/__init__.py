"""The dataset: the lazy sequence of a published directory's data."""
