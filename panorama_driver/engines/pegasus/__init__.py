"""Runs bundles with Pegasus: its Ensemble Manager plans and starts them, HTCondor runs the jobs."""
