"""What the processes on one database share of their traffic: closed gates, and limits a minute."""
