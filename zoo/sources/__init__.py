"""Where the models come from: each file lists its `NAMES` and has `build(name)`, which gives a `Subject`."""
