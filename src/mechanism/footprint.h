/* How much memory the process holds. */
#ifndef PREFORKD_MECHANISM_FOOTPRINT_H
#define PREFORKD_MECHANISM_FOOTPRINT_H

/* Gives back the pages of the program's and its libraries' files that were read so far and not
 * written to: nearly all of them only served the start, most of all the start of libraries that
 * other libraries brought along. Those that are needed come back by themselves, from the page
 * cache. See MADV_DONTNEED in madvise(2). */
void footprint_trim(void);

#endif
