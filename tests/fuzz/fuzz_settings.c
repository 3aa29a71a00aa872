/* A configuration file: what is accepted means the same when it is printed and read again. */
#include "fuzz.h"
#include "policy/settings.h"

static struct settings *build(const char *text, size_t len)
{
    static char file[] = "preforkd.conf";
    static char *const envp[] = {NULL};
    const struct cmdline cmdline = {.file = file};
    struct settings *settings = NULL;
    struct why why = {0};
    int r = settings_build(&cmdline, envp, text, len, &settings, &why);

    fuzz_check(r == 0 ? settings != NULL : why.text[0] != '\0');
    return r == 0 ? settings : NULL;
}

static void compare(const struct settings *one, const struct settings *two)
{
    size_t n;
    const struct setting_info *rows = settings_table(&n);

    fuzz_check(one->npools == two->npools);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < (rows[i].pool ? one->npools : 1); k++)
            fuzz_check(rows[i].rule.type->equal(settings_value(one, &one->pools[k], &rows[i]),
                                                settings_value(two, &two->pools[k], &rows[i])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings *first = build((const char *)data, size), *second;
    CLEANUP_BUF struct buf text = BUF_INIT;

    if (!first)
        return 0;
    settings_dump(first, &text);
    second = build(buf_str(&text), text.len);
    fuzz_check(second);
    compare(first, second);
    settings_unref(first);
    settings_unref(second);
    return 0;
}
