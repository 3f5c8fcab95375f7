"""Algorithms in images on a cluster of Kubernetes: a Job for each call."""
