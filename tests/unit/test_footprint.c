#include "mechanism/footprint.h"

#include <criterion/criterion.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/sys.h"

/* Of /proc/self/smaps_rollup, in KiB. */
static long rollup_kib(const char *name)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    const char *line;

    cr_assert_geq(sys_read_pseudo("/proc/self/smaps_rollup", 1 << 16, &text), 0);
    line = strstr(text.data, name);
    cr_assert(line);
    return atol(line + strlen(name));
}

static int changed = 1;

Test(footprint, gives_files_back_and_keeps_what_was_written)
{
    long files_kib = rollup_kib("Pss_File:");
    char *text = strdup("on the heap");

    changed = 2;
    footprint_trim();
    cr_expect_lt(rollup_kib("Pss_File:"), files_kib * 3 / 4, "%ld of %ld KiB",
                 rollup_kib("Pss_File:"), files_kib);
    cr_expect_eq(changed, 2);
    cr_expect_str_eq(text, "on the heap");
    cr_expect_gt(clock_us(), 0);
    free(text);
}
