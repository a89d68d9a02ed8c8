"""Long-lived workers: readers, the batcher, the shard processor."""
