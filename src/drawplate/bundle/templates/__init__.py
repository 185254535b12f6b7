"""Templates of what stands in a bundle."""
