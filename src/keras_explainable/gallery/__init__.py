"""Pictures and pages of many maps: the demo and a folder of images."""
