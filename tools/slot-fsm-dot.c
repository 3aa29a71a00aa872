/* Prints the table of a slot's life as a graph for dot(1). `make diagram` keeps what it prints as
 * doc/slot-fsm.dot. */
#include <stdio.h>
#include <stdlib.h>

#include "policy/slot_fsm.h"

static void print_state(enum slot_state state)
{
    const char *name = slot_fsm_state_name(state);

    printf("    %s [label=\"%s\\n(%s)\"%s%s%s];\n", name, name, slot_fsm_public_name(state),
           slot_fsm_serving(state) ? ", style=filled, fillcolor=palegreen" : "",
           slot_fsm_timed(state) ? ", peripheries=2" : "",
           slot_fsm_leaving(state) ? ", shape=hexagon" : "");
}

static void print_actions(unsigned actions)
{
    const char *separator = ": ";

    for (unsigned bit = 1; bit <= actions; bit <<= 1)
        if (actions & bit) {
            printf("%s%s", separator, slot_fsm_action_name((enum slot_action)bit));
            separator = ", ";
        }
}

/* What changes nothing is left out. */
static void print_edge(enum slot_state state, enum slot_event event)
{
    struct slot_cell cell = slot_fsm_step(state, event);

    if (!cell.valid || (cell.next == state && !cell.actions))
        return;
    printf("    %s -> %s [label=\"%s", slot_fsm_state_name(state), slot_fsm_state_name(cell.next),
           slot_fsm_event_name(event));
    print_actions(cell.actions);
    puts("\"];");
}

int main(void)
{
    puts("// Made by tools/slot-fsm-dot from the table in src/policy/slot_fsm.c: do not edit.\n"
         "// In brackets the word that users see. Filled: the current worker is ready. Double\n"
         "// line: a timer runs. Hexagon: waits until the workers that leave are gone.\n"
         "digraph slot {\n"
         "    graph [rankdir=LR, fontname=\"sans-serif\"];\n"
         "    node [shape=box, fontname=\"sans-serif\"];\n"
         "    edge [fontname=\"sans-serif\", fontsize=9];");
    for (int state = 0; state < SLOT_NSTATES; state++)
        print_state((enum slot_state)state);
    for (int state = 0; state < SLOT_NSTATES; state++)
        for (int event = 0; event < SLOT_NEVENTS; event++)
            print_edge((enum slot_state)state, (enum slot_event)event);
    puts("}");
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
