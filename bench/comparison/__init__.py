"""What people use today beside onerefresh: the same calls, the same server, each used as its own documentation says."""
