"""Durable state on disk: the only part of luisy_dir that changes what a reader may believe."""
