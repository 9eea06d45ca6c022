"""Training at full size: the command `novakit train`, its dry run, its data, and the run itself."""
