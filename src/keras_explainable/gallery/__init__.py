"""Pictures and pages of many maps: the demo, a folder of images, the page of all methods."""
