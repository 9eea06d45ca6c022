"""Training in many processes: who is there, who takes which clip, how weights are split, who writes the log."""
