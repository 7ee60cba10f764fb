"""The small random models by family: each module has MODELS, a table of what there is, and write(name)."""
