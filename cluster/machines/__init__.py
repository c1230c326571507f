"""The machines, through Ray: which cluster to use, what it offers, starting and ending one."""
