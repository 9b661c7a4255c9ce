"""The compat packages: other systems' names, each a thin face on the core, so that their programs run as they are."""
