"""One small server per study directory: it takes evaluations, journals each step, holds the slots, and answers."""
