/* peer_beck.h -- beck as a store, open to the workloads that only beck has */
#ifndef PEER_BECK_H
#define PEER_BECK_H

#include <beck.h>

#include "bench.h"

struct beck_store {
    beck *db;
    beck_topic *topic;
    uint32_t sync;
};

/* Ends the program when rc is an error. */
void beck_must(beck *db, int rc, const char *what);
void *beck_store_open(const char *path, enum durability durability);
void beck_store_close(void *store);

#endif
