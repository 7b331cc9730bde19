"""Explain millions of images in parts, on one machine or many. A run can be killed at any time, and goes on where it
stopped: no image is lost, and none is recorded twice. See docs/distributed.md."""

from keras_explainable.distributed.front import explain as explain
from keras_explainable.distributed.front import open as open
from keras_explainable.distributed.front import status as status
