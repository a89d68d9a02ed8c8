"""Tests of clips: planning, cutting, doubles, and what is written."""
