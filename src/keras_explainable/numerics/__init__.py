"""Numerical building blocks without a model: resizing, random numbers, blur, safe division."""
