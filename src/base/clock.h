/* The only place that reads a clock. Tests put their own time in with clock_set_source(). */
#ifndef PREFORKD_BASE_CLOCK_H
#define PREFORKD_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC in microseconds, milliseconds. Every decision is made with these. */
int64_t clock_us(void);
int64_t clock_ms(void);

/* CLOCK_BOOTTIME in milliseconds: goes on while the machine sleeps. Only to notice that it did. */
int64_t clock_boot_ms(void);

/* Wall clock, milliseconds since 1970, for showing to people only. */
int64_t clock_wall_ms(void);

/* The same as text, "2026-11-21T04:05:06.789Z" (RFC 3339, UTC), written to `out`; returns it. */
#define CLOCK_WALL_TEXT sizeof("2026-11-21T04:05:06.789Z")
char *clock_wall_text(int64_t wall_ms, char out[static CLOCK_WALL_TEXT]);

/* Replaces the monotonic source; NULL puts the kernel's back. */
void clock_set_source(int64_t (*source_us)(void));

#endif
