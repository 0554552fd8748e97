"""Faults on the real Dakota and real processes: an evaluation is run once and answered, whatever is killed."""
