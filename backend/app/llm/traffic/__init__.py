"""How many calls may go where and when: gates, circuits, queues and windows of a process."""
