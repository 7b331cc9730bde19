"""The images of these tests."""

from support.perturbation import x as x
