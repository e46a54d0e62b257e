"""The hourglass search service, without HTTP and without training."""
