"""What a build consists of: the plan's nodes, the key of each, and the job that makes one."""
