"""Which frames to process: adaptive sampling, cascades of cheap and expensive operations, previews."""
