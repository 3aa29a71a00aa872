#!/bin/sh
# Runs every fuzz target over its corpus, one result each. In the build folder; srcdir is set.
set -u

n=0
failed=0
for corpus in "${srcdir:-.}"/tests/fuzz/corpus/*/; do
    target=$(basename "$corpus")
    n=$((n + 1))
    if "tests/fuzz/fuzz_$target" "$corpus" >&2; then
        echo "ok $n - fuzz corpus of $target"
    else
        echo "not ok $n - fuzz corpus of $target"
        failed=1
    fi
done
echo "1..$n"
exit $failed
