"""The same run on a Ray cluster. The only place that imports Ray."""
