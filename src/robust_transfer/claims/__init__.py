"""What the papers claim, as data, and whether the printed and the measured numbers bear it out; see docs/claims.md."""
