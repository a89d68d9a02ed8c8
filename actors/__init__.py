"""Long-lived workers: readers, the batcher, the mill."""
