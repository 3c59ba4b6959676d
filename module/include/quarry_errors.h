/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The errors of the core, for both sides of the seam (quarry_seam.h). */
#ifndef QUARRY_ERRORS_H
#define QUARRY_ERRORS_H

/*
 * Every error of the core, its errno and what it means. The shim maps them to
 * errno in one place (errors.c), the core knows only the names.
 */
#define QUARRY_ERRORS(X)                                                       \
	X(NO_MEMORY, ENOMEM, "the system has no memory")                       \
	X(POOL_FULL, ENOSPC, "the pool is full")                               \
	X(INVALID, EINVAL, "an argument is invalid")                           \
	X(MISALIGNED, EINVAL, "the offset is no multiple of 8")                \
	X(OUT_OF_RANGE, ERANGE, "the offset is beyond the pool")               \
	X(NO_REGION, ENXIO, "no region holds this offset")                     \
	X(NOT_OBJECT, EBADSLT, "the offset is no object's start")              \
	X(ALREADY_FREE, EALREADY, "the object is free already")                \
	X(NOT_OWNER, EACCES, "the object is another client's")                 \
	X(WRONG_SIZE, EMSGSIZE, "the object has another size")                 \
	X(QUOTA, EDQUOT, "the client's limit is reached")                      \
	X(TOO_LARGE, EFBIG, "larger than any object can be")                   \
	X(OVERFLOW, EOVERFLOW, "the sizes overflow")                           \
	X(BUSY, EBUSY, "in use, or held by I/O")                               \
	X(OVERLAP, EEXIST, "the region overlaps another")                      \
	X(NOT_FOUND, ENOENT, "there is no such region or run")                 \
	X(INITIALISED, EALREADY, "it is initialised already")                  \
	X(UNINITIALISED, ENODEV, "it is not initialised yet")                  \
	X(TOO_MANY, EUSERS, "no more clients or regions can be had")           \
	X(OWNERS_FULL, ETOOMANYREFS, "the owner records of the slab are used up") \
	X(CORRUPT, EUCLEAN, "the slab is quarantined after corruption")        \
	X(SHUTDOWN, ESHUTDOWN, "the client has been reaped")                   \
	X(NOT_SUPPORTED, EOPNOTSUPP, "not for this kind of pool")              \
	X(NEEDS_PAGES, EAGAIN, "the pool must grow first")                     \
	X(CANNOT_GROW, ENOSPC, "the object cannot be resized in place")         \
	X(HELD, EEXIST, "the receiver holds the object already")               \
	X(OUT_OF_NODES, ENOSR, "as many ranges are live as there can be")       \
	X(RESERVES_FULL, EXFULL, "the client has as much set aside as it can")

/* 0 is success; entries that can fail return one of these (positive). */
enum quarry_error {
	QUARRY_OK = 0,
#define QUARRY_ERROR_NAME(name, errno_name, text) QUARRY_E_##name,
	QUARRY_ERRORS(QUARRY_ERROR_NAME)
#undef QUARRY_ERROR_NAME
	QUARRY_ERROR_COUNT
};

#endif
