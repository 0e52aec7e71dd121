"""What a running process needs of its machine: a terminal and logs, threads, disk, Ray, tracking."""
