"""What models cost for what they get right: cost-of-pass, price reversal, rankings, effort."""
