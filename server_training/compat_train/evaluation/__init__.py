"""What judges models: M(q,q), M(q,g), M(g,g), the compatibility rule, and what an upgrade gains."""
