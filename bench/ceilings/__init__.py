"""What ours is measured against: the least that anybody could do, and what a hurried team would write."""
