"""The sources of models: each file lists its `NAMES`, and its `build(name)` returns a `Subject`."""
