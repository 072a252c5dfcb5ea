"""What the host does around training: runs, their files, locks, processes."""
