/* SPDX-License-Identifier: MIT */
/*
 * Errors for people: what is wrong, and what to do next. One table, most particular rows first: a
 * row with a call wins over the row for any call. Constant strings, no state.
 */
#include <errno.h>
#include <stddef.h>

#include "internal.h"

#define ANY QUARRY_CALL_COUNT

static const char *const call_names[QUARRY_CALL_COUNT] = {
    [QUARRY_CALL_OPEN] = "open",
    [QUARRY_CALL_INFO] = "info",
    [QUARRY_CALL_CREATE] = "create",
    [QUARRY_CALL_JOIN] = "join",
    [QUARRY_CALL_ENV] = "join by $QUARRY_POOL_FD",
    [QUARRY_CALL_SEND] = "send",
    [QUARRY_CALL_RECEIVE] = "receive",
    [QUARRY_CALL_SHARE] = "share",
    [QUARRY_CALL_ALLOC] = "alloc",
    [QUARRY_CALL_FREE] = "free",
    [QUARRY_CALL_TRANSFER] = "transfer",
    [QUARRY_CALL_ADDRESS] = "address",
    [QUARRY_CALL_REGION_ADD] = "region-add",
    [QUARRY_CALL_REGION_REMOVE] = "region-remove",
    [QUARRY_CALL_DRAIN] = "drain",
    [QUARRY_CALL_STAT] = "stat",
    [QUARRY_CALL_VERIFY] = "verify",
    [QUARRY_CALL_RESIZE] = "resize",
    [QUARRY_CALL_SHARE_OBJECTS] = "share-objects",
    [QUARRY_CALL_RESERVE] = "reserve",
};

struct row {
    int error;
    enum quarry_call call; /* ANY: every call without a row of its own */
    const char *text;
};

static const struct row rows[] = {
    {ENOENT, QUARRY_CALL_ENV,
     "$" QUARRY_POOL_FD_ENV " is not set: start this program by `quarryctl create ... -- COMMAND`"},
    {EINVAL, QUARRY_CALL_ENV,
     "$" QUARRY_POOL_FD_ENV " is not a descriptor's number: let `quarryctl create` set it"},
    {EBADF, QUARRY_CALL_ENV,
     "the descriptor in $" QUARRY_POOL_FD_ENV
     " is closed: the program between quarryctl and this one must leave it open"},
    {ENOENT, ANY, "the device is not there: load the module (modprobe quarry, or insmod quarry.ko)"},
    {ENODEV, ANY, "no driver behind the device: load the module (modprobe quarry)"},
    {ENXIO, QUARRY_CALL_OPEN, "no driver behind the device: load the module (modprobe quarry)"},
    {EACCES, QUARRY_CALL_OPEN,
     "the device is closed to this user: join the group quarry, or run as root"},
    {EACCES, QUARRY_CALL_CREATE,
     "the device is closed to this user: join the group quarry, or run as root"},
    {EACCES, QUARRY_CALL_FREE,
     "the object is another client's: let its owner free it, or transfer it here first"},
    {EACCES, QUARRY_CALL_RESIZE,
     "the range is another client's: let its owner resize it, or transfer it here first"},
    {EACCES, QUARRY_CALL_TRANSFER,
     "the object is another client's: only its owner can hand it on"},
    {EACCES, QUARRY_CALL_SHARE_OBJECTS,
     "the object is another client's: only who holds it can share it"},
    {EEXIST, QUARRY_CALL_SHARE_OBJECTS,
     "the receiver holds the object already: one share is enough until it frees it"},
    {EILSEQ, ANY,
     "this is no queue, or what stands in it has been overwritten: make another one, and see who writes "
     "beyond its objects"},
    {EEXIST, QUARRY_CALL_TRANSFER,
     "the receiver holds the shared object already: free it here instead"},
    {ETOOMANYREFS, QUARRY_CALL_SHARE_OBJECTS,
     "the pool has no room for more shares: let holders free some first"},
    {EPROTO, QUARRY_CALL_OPEN,
     "the module speaks another version of the interface: install library and module of one release"},
    {EPROTO, QUARRY_CALL_CREATE,
     "the module speaks another version of the interface: install library and module of one release"},
    {EPROTO, QUARRY_CALL_RECEIVE,
     "what arrived is no pool: the other end must call quarry_send_pool, with nothing before it"},
    {ECONNRESET, QUARRY_CALL_RECEIVE,
     "the other end closed before it sent a pool: see why that process ended"},
    {EPIPE, ANY, "the other end has closed the socket: see why that process ended"},
    {ENOTSOCK, ANY, "the descriptor is no socket: pass one end of a Unix socket"},
    {ENAMETOOLONG, ANY, "the name is too long: use at most 31 characters"},
    {EFAULT, ANY, "an address cannot be read or written: pass memory of this process"},
    {EINVAL, QUARRY_CALL_ALLOC,
     "size 0, or an alignment that is no power of two: ask for 1 byte or more, align 0 for none"},
    {EINVAL, QUARRY_CALL_RESERVE,
     "size 0, or an alignment that is no power of two: ask for what alloc will be asked for"},
    {EINVAL, QUARRY_CALL_FREE,
     "the offset is no multiple of 8: free what alloc returned, not an address inside it"},
    {EINVAL, QUARRY_CALL_TRANSFER,
     "an offset is no multiple of 8: transfer what alloc returned, not an address inside it"},
    {EINVAL, QUARRY_CALL_SHARE_OBJECTS,
     "an offset is no multiple of 8: share what alloc returned, not an address inside it"},
    {EINVAL, QUARRY_CALL_CREATE,
     "an option is not valid: give bytes (heap); object size, a multiple of 8, and count (fixed); "
     "or max_bytes, granule and max_ranges (range); a printable name without '/', and an online NUMA "
     "node"},
    {EINVAL, QUARRY_CALL_RESIZE,
     "size 0, or an offset that is no multiple of the granule: free the range to be rid of it"},
    {EINVAL, QUARRY_CALL_REGION_ADD, "bytes 0, or no such zone or NUMA node: see `quarryctl info`"},
    {EINVAL, ANY, "an argument is not valid: see the call's rules in <quarry/quarry.h>"},
    {E2BIG, ANY, "this library is newer than the module, and uses what it does not know: update it"},
    {EMSGSIZE, QUARRY_CALL_ALLOC,
     "a fixed pool has one object size: ask for exactly quarry_object_size() bytes"},
    {EMSGSIZE, QUARRY_CALL_RESERVE,
     "not a fixed pool's object size, or too many: set at most QUARRY_MAX_BATCH objects aside"},
    {EMSGSIZE, QUARRY_CALL_FREE,
     "no object of that size starts there: free it with the size that it was allocated with"},
    {EMSGSIZE, ANY, "too much for one call: use at most QUARRY_MAX_BATCH objects"},
    {EOVERFLOW, ANY, "the sizes overflow 64 bits: ask for less"},
    {EFBIG, QUARRY_CALL_ALLOC,
     "larger than any object can be: see max_object in `quarryctl info`, and split it"},
    {EFBIG, QUARRY_CALL_RESERVE,
     "larger than any object can be: see max_object in `quarryctl info`, and split it"},
    {EFBIG, QUARRY_CALL_REGION_ADD,
     "larger than the pool may become: create it with a larger max_bytes, or add less"},
    {EFBIG, ANY,
     "larger than a pool can be, or than memory: see max_pool in `quarryctl info`, and ask for less"},
    {ENOTTY, ANY, "the descriptor is no Quarry device, or the module lacks this call: check both"},
    {EBADF, QUARRY_CALL_JOIN,
     "the descriptor is closed or no longer this pool's: keep it open until the join"},
    {EBADF, ANY, "the descriptor is closed: keep the pool's descriptor open"},
    {EBADFD, QUARRY_CALL_CREATE, "a pool cannot make pools: use the descriptor of " QUARRY_DEVICE},
    {EBADFD, ANY, "the descriptor is of the device, not of a pool: pass a pool's descriptor"},
    {EXDEV, ANY, "the client belongs to another process: join the pool from this one first"},
    {ENOTCONN, ANY,
     "the client area is not mapped: use quarry_create or quarry_join, which map it"},
    {ESHUTDOWN, ANY,
     "this client has been reaped and owns nothing: join again, and do not unmap its area"},
    {EPERM, QUARRY_CALL_CREATE,
     "lowmem needs CAP_SYS_RAWIO, or a quota from the module's parameters: run as root, or take "
     "the normal zone"},
    {EPERM, ANY, "for the pool's creator alone: call it from the process that made the pool"},
    {EDQUOT, QUARRY_CALL_ALLOC,
     "this client owns as many bytes as it may: free some, or create the pool with a larger "
     "client limit"},
    {EDQUOT, QUARRY_CALL_RESERVE,
     "this client may not own so many bytes: free some, set fewer aside, or create the pool with a "
     "larger client limit"},
    {EDQUOT, QUARRY_CALL_RESIZE,
     "this client would own more bytes than it may: free some, or create the pool with a larger "
     "client limit"},
    {EDQUOT, QUARRY_CALL_SHARE_OBJECTS,
     "the receiver owns as many bytes as it may: let it free some first"},
    {EDQUOT, QUARRY_CALL_TRANSFER,
     "the receiver owns as many bytes as it may: let it free some first"},
    {EDQUOT, ANY,
     "this user has as many pools, clients or pool bytes as allowed: end some (`quarryctl list`), "
     "or raise the module's limits"},
    {ENOBUFS, ANY,
     "RLIMIT_MEMLOCK would be exceeded (pool memory is pinned): raise it with `ulimit -l`, or ask "
     "for less"},
    {EUSERS, ANY, "the pool has as many clients as it can have: end some first"},
    {EMFILE, ANY, "this process has too many open descriptors: close some, or raise `ulimit -n`"},
    {ENFILE, ANY, "the system has too many open files: close some"},
    {ENOMEM, QUARRY_CALL_SHARE, "the system has no memory: free some"},
    {ENOMEM, ANY,
     "the system, or this memory cgroup, has no memory left: free some, raise the cgroup's limit, "
     "or ask for less"},
    {ENOSPC, QUARRY_CALL_ALLOC,
     "the pool is full: free objects, add a region, or create it with a larger max_bytes"},
    {ENOSPC, QUARRY_CALL_RESERVE,
     "the pool has no room for so many: set fewer aside, add a region, or create it with a larger "
     "max_bytes"},
    {ENOSPC, QUARRY_CALL_RESIZE,
     "what follows the range is not free, or too small: allocate anew, move it, and free this one"},
    {EXFULL, ANY,
     "this client has as much set aside as it can: lower the reserve of a size that it needs no more"},
    {ENOSR, ANY,
     "as many ranges are live as the pool can have: free some, or create it with more max_ranges"},
    {ENOSPC, ANY, "the pool is full and may not grow: create it with a larger max_bytes"},
    {ERANGE, QUARRY_CALL_ADDRESS,
     "outside the pool: use offsets from this pool and addresses from its mapping"},
    {ERANGE, ANY, "outside the pool: pass what this pool's alloc returned"},
    {ENXIO, ANY, "no region of the pool holds this offset: pass what this pool's alloc returned"},
    {EBADSLT, ANY, "no object starts here: pass exactly what alloc returned, not a place inside it"},
    {EALREADY, ANY, "the object is free already: look for a second free of it (a double free)"},
    {EUCLEAN, ANY,
     "the object's slab is quarantined after corruption: read the kernel log, verify the pool, and "
     "replace it"},
    {ESRCH, ANY, "no such living client in this pool: it has died, so keep the object or free it"},
    {EUNATCH, ANY, "the receiver has not mapped its client area yet: let it join by libquarry"},
    {ETOOMANYREFS, ANY,
     "too many clients own objects of this slab: transfer fewer, or objects of another size"},
    {EBUSY, QUARRY_CALL_FREE,
     "I/O holds the object, and too much of the pool already: let I/O end, then free it again"},
    {EBUSY, ANY, "the region has objects or mapped pages in use: free them, then try again"},
    {EEXIST, ANY, "a pool of this user has this name: choose another (`quarryctl list`)"},
    {EOPNOTSUPP, QUARRY_CALL_RESIZE,
     "only ranges can be resized: allocate anew, copy, and free the old one"},
    {EOPNOTSUPP, QUARRY_CALL_ALLOC,
     "a range pool's objects have no address: use quarry_alloc_offset"},
    {EOPNOTSUPP, ANY, "not for this kind of pool, or not in this module: see `quarryctl info`"},
    {EAGAIN, ANY, "not now: try again (a socket may be non-blocking: wait with poll)"},
    {0, ANY, "no error"},
};

const char *quarry_strerror(int error, enum quarry_call call) {
    const char *general = NULL;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].error != error)
            continue;
        if (rows[i].call == call)
            return rows[i].text;
        if (rows[i].call == ANY && !general)
            general = rows[i].text;
    }
    return general ? general : "the system refused the call: look up this errno in the manual of it";
}

const char *quarry_call_name(enum quarry_call call) {
    return (unsigned)call < QUARRY_CALL_COUNT ? call_names[call] : "call";
}
