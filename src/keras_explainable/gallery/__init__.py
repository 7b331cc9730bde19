"""Pictures and pages of many maps: the demo and a folder of images."""

# One method of each family that explains the embedded network, and one that fails on it.
QUICK = ("gradcam", "integrated_gradients", "full_gradients", "lrp_epsilon_plus", "rise", "smoothgrad")
