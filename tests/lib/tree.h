/* For unit tests: a folder of files that stands for another machine. */
#ifndef PREFORKD_TESTS_TREE_H
#define PREFORKD_TESTS_TREE_H

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/util.h"

static int tree_remove_one(const char *path, UNUSED const struct stat *st, UNUSED int type,
                           UNUSED struct FTW *ftw)
{
    return remove(path);
}

static inline void tree_remove(const char *root)
{
    nftw(root, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
