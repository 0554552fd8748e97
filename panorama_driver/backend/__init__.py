"""The back end in one command: broker, collector, store and dashboard, as supervised processes or as containers."""
