/*
 * job.h — what the recorder tells an ingest child, once, over the inherited socket; no more.
 *
 * A fixed block, so that the child needs no parser; the two programs are installed together, and
 * magic and size catch a mix of versions. It holds the password: it is sent, wiped, never logged
 * and never in argv or the environment.
 */
#ifndef CUSTOS_JOB_H
#define CUSTOS_JOB_H

#include "engine/base/base.h"

#define JOB_MAGIC UINT32_C(0x314a4243) /* "CBJ1" */

/* Descriptors that the child inherits, besides 0, 1 and 2. */
enum { JOB_FD_SOCKET = 3, JOB_FD_RING, JOB_FD_DATA, JOB_FD_SPACE, JOB_FD_MEDIA, JOB_FD_END };

struct ingest_job {
	uint32_t magic, bytes;
	char name[128];        /* the camera's name or the file's, for messages */
	char url[2048];        /* with user and password; empty: JOB_FD_MEDIA is the source */
	int64_t start_ns;      /* ENG_NO_TIME: live */
	int64_t not_before_ns; /* live: end of what this camera has already, or ENG_NO_TIME */
	int64_t stall_ns;
	uint32_t audio; /* 0: video only */
	uint32_t feed;  /* somebody's stream: its end is no fault */
};

#endif
