/* The terminal: what it can show, and a full screen that is given back on every way out. */
#ifndef PREFORKD_CTL_TERMINAL_H
#define PREFORKD_CTL_TERMINAL_H

#include "base/why.h"
#include "ctl/table.h"

/* What stdout is: colour and width only for a terminal, no colour with NO_COLOR or TERM=dumb. */
struct look terminal_look(void);
bool terminal_is_one(void);

/* Lines of the terminal, 24 when it does not tell. */
size_t terminal_height(void);

/* Takes the whole screen (alternate screen, no cursor, no echo, no line wrap) and returns a
 * descriptor that becomes readable when a signal has come, or -errno. A crash gives the screen back
 * too. One at a time. */
int terminal_open(void);

/* Reads a signal: its number, 0 for none. */
int terminal_signal(int signal_fd);

/* Gives the screen back while the process is stopped, as Ctrl-Z wants. */
void terminal_suspend(void);

void terminal_close(int signal_fd);

#endif
