"""What organizations have bought."""
