"""Looking inside: shapes and counts of a network, where its time goes, which convolution algorithm runs."""

from .convolution import ConvExplanation, explain_conv
from .profiling import Profile, profile
from .summary import Summary, summary

__all__ = ["ConvExplanation", "Profile", "Summary", "explain_conv", "profile", "summary"]
