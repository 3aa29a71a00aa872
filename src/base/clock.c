#include "base/clock.h"

#include <stddef.h>
#include <stdio.h>
#include <time.h>

static int64_t kernel_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t (*source)(void) = kernel_us;

int64_t clock_us(void)
{
    return source();
}

int64_t clock_ms(void)
{
    return source() / 1000;
}

static int64_t read_ms(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_boot_ms(void)
{
    return read_ms(CLOCK_BOOTTIME);
}

int64_t clock_wall_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

char *clock_wall_text(int64_t wall_ms, char out[static CLOCK_WALL_TEXT])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    size_t n = strftime(out, CLOCK_WALL_TEXT, "%FT%T", gmtime_r(&seconds, &tm));

    snprintf(out + n, CLOCK_WALL_TEXT - n, ".%03dZ", (int)(wall_ms % 1000));
    return out;
}

void clock_set_source(int64_t (*source_us)(void))
{
    source = source_us ? source_us : kernel_us;
}
