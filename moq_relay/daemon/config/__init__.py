"""The settings of one relay: what there is, where it comes from, how it is written."""
