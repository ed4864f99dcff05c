"""The running program: domains, flows, and the composition roots above them."""
