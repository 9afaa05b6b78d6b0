"""What two engines need and neither owns."""
