/* Times, sizes and shares as people read them. */
#include <criterion/criterion.h>
#include <math.h>

#include "ctl/units.h"

static void expect(void (*unit)(struct buf *out, double value), double value, const char *text)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    unit(&out, value);
    cr_expect_str_eq(buf_str(&out), text, "%g: %s", value, buf_str(&out));
}

Test(units, duration)
{
    expect(units_duration, -1, "0s");
    expect(units_duration, NAN, "0s");
    expect(units_duration, 0, "0s");
    expect(units_duration, 59.9, "59s");
    expect(units_duration, 60, "1m00s");
    expect(units_duration, 3599, "59m59s");
    expect(units_duration, 3600, "1h00m");
    expect(units_duration, 86399, "23h59m");
    expect(units_duration, 3 * 86400 + 4 * 3600, "3d04h");
    expect(units_duration, 1e300, "11574074d01h");
    expect(units_duration, INFINITY, "11574074d01h");
}

Test(units, cpu_time)
{
    expect(units_cpu_time, -1, "0.00s");
    expect(units_cpu_time, NAN, "0s");
    expect(units_cpu_time, 0.424, "0.42s");
    expect(units_cpu_time, 59.99, "59.99s");
    expect(units_cpu_time, 59.999, "1m00s");
    expect(units_cpu_time, 62, "1m02s");
}

Test(units, bytes)
{
    expect(units_bytes, -1, "0B");
    expect(units_bytes, 0, "0B");
    expect(units_bytes, 999, "999B");
    expect(units_bytes, 1000, "1.0K");
    expect(units_bytes, 9.5 * 1024, "9.5K");
    expect(units_bytes, 9.96 * 1024, "10K");
    expect(units_bytes, 23.0 * 1024 * 1024, "23M");
    expect(units_bytes, 999.6 * 1024, "1.0M");
    expect(units_bytes, 1.25 * 1024 * 1024 * 1024, "1.2G");
    expect(units_bytes, 1e30, "867361737988E");
}

Test(units, percent)
{
    expect(units_percent, -3, "0.0%");
    expect(units_percent, 0.34, "0.3%");
    expect(units_percent, 9.94, "9.9%");
    expect(units_percent, 9.96, "10%");
    expect(units_percent, 234.4, "234%");
}
