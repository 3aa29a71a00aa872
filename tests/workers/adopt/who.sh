#!/bin/sh
# A CGI program that tells for whom it was started.
printf 'Content-Type: text/plain\r\n\r\npid=%s slot=%s gen=%s\n' \
    "$PPID" "$PREFORK_SLOT" "$PREFORK_GENERATION"
