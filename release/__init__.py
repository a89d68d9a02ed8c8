"""What goes with a release: its wheel, its bill of materials, and what is known against its dependencies."""
