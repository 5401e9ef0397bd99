"""Pictures: accuracy against speed, landscapes of tasks, figures of the paper."""
