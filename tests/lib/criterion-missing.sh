#!/bin/sh
# Stands in for the unit tests where configure did not find what they need: nothing was tested, so
# the run must not look well.
echo 1..1
echo 'not ok 1 - unit tests: Criterion is missing (Debian: libcriterion-dev); run configure again'
