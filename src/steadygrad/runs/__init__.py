"""What the host does around training: files, locks, processes."""
