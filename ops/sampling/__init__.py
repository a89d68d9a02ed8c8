"""Which frames are worth looking at: adaptive sampling, cascades, previews."""
