/*
 * handle_table.h — private to handle.c (the table) and handle_log.c (the records).
 */
#ifndef CUSTOS_HANDLE_TABLE_H
#define CUSTOS_HANDLE_TABLE_H

#include "fusefs/handle.h"

struct handle_slot {
	struct handle *handle; /* NULL: free */
	uint32_t generation;
};
struct handles {
	struct aud_log *log;
	struct listings *listings;
	pthread_mutex_t lock; /* slots … last_number, every handle's refs */
	struct handle_slot *slots;
	uint32_t n_slots, next_slot;
	size_t n;
	uint64_t last_number;

	_Atomic uint64_t reads;
	/* The oldest READ record that is not known to be durable, and since when (boot time). */
	_Atomic uint64_t watch_seq;
	_Atomic int64_t watch_ns;
	_Atomic int64_t flushed_ns; /* last time handles_flush() came by; 0: not yet */
	atomic_bool failed;
};

#endif
