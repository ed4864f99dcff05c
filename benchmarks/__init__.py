"""What is measured, each with its control in the same run; `make bench` runs it."""
