"""From a tried image to what deploys it: sizes from the sweep, Kubernetes objects, a compose file."""
