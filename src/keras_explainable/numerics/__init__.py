"""Numbers alone: resizing, random numbers, blur, quotients. It knows no model."""
