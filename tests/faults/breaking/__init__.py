"""What breaks connections and servers, and how what was heard all the same is judged."""
