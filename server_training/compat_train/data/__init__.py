"""From decoded images to seeded, augmented batches."""
