"""Max and average pooling: window by window, or by sliding maxima and sums."""
