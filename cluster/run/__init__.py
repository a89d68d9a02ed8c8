"""One run of the main job on this machine: from sources, by plan and jobs, to commits."""
