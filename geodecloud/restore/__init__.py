"""What happens to pixels: decisions, chunks, the mask, the composite."""
