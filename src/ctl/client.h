/* The transport: one request at a time to the master, HTTP over its Unix socket (libcurl). */
#ifndef PREFORKD_CTL_CLIENT_H
#define PREFORKD_CTL_CLIENT_H

#include <curl/curl.h>

#include "base/why.h"
#include "ctl/answer.h"

enum client_outcome {
    CLIENT_BUSY,        /* the answer is under way */
    CLIENT_DONE,        /* it is complete, see `status` and the answer */
    CLIENT_UNREACHABLE, /* there is nobody, or nobody answered at all */
    CLIENT_CROWDED,     /* the same, since the socket's queue is full now */
    CLIENT_BROKEN,      /* it ended halfway or was no answer */
};

struct client {
    const char *socket; /* path */
    struct answer answer;
    long status;      /* of HTTP; 0 until the answer has begun */
    int answer_err;   /* of answer_add(), answer_end() */
    int64_t heard_ms; /* when it was asked for, or its last line came */
    struct why *why;  /* written when the outcome is a failure */

    CURLM *multi;
    CURL *easy;
};

/* -ENOMEM when libcurl cannot be used. `why` gets the reason of every later failure. */
int client_init(struct client *c, const char *socket, struct why *why);
void client_free(struct client *c);

/* Begins a request; one that is under way is dropped. `path` is with its query. The answer's `take`
 * and `user` are the caller's to set beforehand. */
int client_start(struct client *c, bool post, const char *path);

/* Waits at most `timeout_ms` for the answer or for one of the other descriptors. */
enum client_outcome client_step(struct client *c, int timeout_ms, struct curl_waitfd *others,
                                unsigned nothers);

/* A whole request: never CLIENT_BUSY. The answer must come in time; one in lines may pause as long
 * as the master answers other requests meanwhile. */
enum client_outcome client_ask(struct client *c, bool post, const char *path);

#endif
