"""`saliency.fullgrad` by its other name: a folder, since two files whose names differ in case are one on some disks."""

from saliency.fullgrad import FullGrad as FullGrad
