#include "policy/oom.h"

#include <stdlib.h>

int64_t oom_count(const char *text)
{
    static const char key[] = "oom_kill ";

    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        const char *value = str_after(*line == '\n' ? ++line : line, key);
        char *end;
        long long count;

        if (!value)
            continue;
        count = strtoll(value, &end, 10);
        return end > value && count >= 0 ? count : -1;
    }
    return -1;
}

void oom_ledger_note(struct oom_ledger *l, int64_t count, int64_t now_ms)
{
    if (now_ms - l->owed_ms >= OOM_MEMORY_MS)
        l->owed = 0;
    if (count > l->seen) {
        l->owed += count - l->seen;
        l->owed_ms = now_ms;
    }
    l->seen = count;
}

bool oom_ledger_take(struct oom_ledger *l)
{
    if (l->owed <= 0)
        return false;
    l->owed--;
    return true;
}
