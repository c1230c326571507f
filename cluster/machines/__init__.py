"""The machines, through Ray: which cluster to use, what its nodes have, starting and ending one."""
