"""Speed, as a ratio to the peers' way of doing the same thing, in one run on one machine."""
