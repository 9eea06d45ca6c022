"""The course around the notebooks: run them in a batch, check exercises. Source: ours."""
