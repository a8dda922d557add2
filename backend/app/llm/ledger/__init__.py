"""What goes on the books: one row for each upstream attempt, written before the call leaves."""
