"""The engine of one machine: a supervisor and one worker process."""
