/* Times, sizes and shares in the form that people read: short, of one width as far as possible. */
#ifndef PREFORKD_CTL_UNITS_H
#define PREFORKD_CTL_UNITS_H

#include "base/buf.h"

/* "0s", "59s", "2m03s", "4h05m", "3d04h". Less than 0 is 0. */
void units_duration(struct buf *out, double seconds);

/* The same with two decimals below a minute: "0.42s". */
void units_cpu_time(struct buf *out, double seconds);

/* "512B", "9.5K", "23M", "1.2G": powers of 1024. */
void units_bytes(struct buf *out, double bytes);

/* "0.3%", "12%", "234%": of one processor. Less than 0 is 0. */
void units_percent(struct buf *out, double percent);

#endif
