"""Small trainings of one budget, which claims and baselines need: what they read, how they learn, how they differ."""
