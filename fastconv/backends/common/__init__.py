"""Code that several engines need and none of them owns."""
