#include "ctl/units.h"

enum { MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR };

/* What is more than this was not measured but made up. */
#define SECONDS_MAX 1e12

static long long whole(double value)
{
    if (!(value > 0))
        return 0;
    return (long long)(value < SECONDS_MAX ? value : SECONDS_MAX);
}

void units_duration(struct buf *out, double seconds)
{
    long long s = whole(seconds);

    if (s < MINUTE)
        buf_printf(out, "%llds", s);
    else if (s < HOUR)
        buf_printf(out, "%lldm%02llds", s / MINUTE, s % MINUTE);
    else if (s < DAY)
        buf_printf(out, "%lldh%02lldm", s / HOUR, s % HOUR / MINUTE);
    else
        buf_printf(out, "%lldd%02lldh", s / DAY, s % DAY / HOUR);
}

void units_cpu_time(struct buf *out, double seconds)
{
    if (seconds < MINUTE - 0.005)
        buf_printf(out, "%.2fs", seconds > 0 ? seconds : 0.0);
    else
        units_duration(out, seconds + 0.005);
}

void units_bytes(struct buf *out, double bytes)
{
    static const char letters[] = "BKMGTPE";
    double value = bytes > 0 ? bytes : 0;
    size_t i = 0;

    /* What would be rounded to four digits goes to the next letter as well. */
    while (value >= 999.5 && letters[i + 1]) {
        value /= 1024;
        i++;
    }
    buf_printf(out, i > 0 && value < 9.95 ? "%.1f%c" : "%.0f%c", value, letters[i]);
}

void units_percent(struct buf *out, double percent)
{
    double value = percent > 0 ? percent : 0;

    buf_printf(out, value < 9.95 ? "%.1f%%" : "%.0f%%", value);
}
