"""Starts a seat's process. It lives as long as the run, so `Site` and `Aggregator` may remember."""

import coinstac
import local
import remote

coinstac.start(local.Site().answer, remote.Aggregator().answer)
