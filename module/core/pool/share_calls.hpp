// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Makes clients holders of what others hold (shares.hpp). An object's first share moves it to the
// commons and records two holders; each further one records one more. TRANSFER of a shared object
// hands on the share of the one who calls; a free drops it (pool.hpp).
//
// Neither zeroes anything: it is the holders' wish to see the same bytes. A holder counts the
// object against its limit as if it were its alone.
//
// Context: task. Cost: O(holders of the object).
#pragma once

#include "transfer_calls.hpp"

namespace quarry {

template <Platform P>
class ShareCalls {
public:
    explicit ShareCalls(Pool<P>& pool) : pool_(pool) {}

    // Makes `to` a holder beside `from`, in order; stops at the first that is refused. Context:
    // task. Errors: not_supported (ranges), no_memory, held (`to` holds it already), quota,
    // owners_full, those of free.
    PoolGranted share(Client<P>& from, Client<P>& to, const Offset* offsets, u32 count,
                  PoolRefusal& refusal) {
        refusal = {offsets[0], 0};
        if (pool_.ranges()) return {0, Error::not_supported, 0};
        if (const Error e = pool_.shares_.prepare(&pool_, pool_.config().max_pages); !ok(e))
            return {0, e, 0};
        pool_.clients_.set_commons(pool_.shares_.commons());
        PoolGranted g;
        for (; g.done < count && ok(g.why); g.done += ok(g.why)) {
            ReadGuard<P> reader;
            g.why = share_one(from, to, offsets[g.done], refusal);
        }
        return g;
    }

private:
    using Place = typename Pool<P>::Place;

    Error share_one(Client<P>& from, Client<P>& to, Offset offset, PoolRefusal& refusal) {
        refusal = {offset, 0};
        const auto place = pool_.locate(offset);
        if (!place) return place.error();
        if (pool_.owner_at(*place) == kCommons) return share_again(from, to, *place, offset);
        // Those who share one object at the same time come one after the other.
        Guard guard(pool_.shares_.making);
        const ClientIndex now = pool_.owner_at(*place);
        if (now == kCommons) return share_again(from, to, *place, offset);
        if (pool_.is_free(now)) return Error::already_free;
        if (now != from.index()) return pool_.blame(refusal, now, Error::not_owner);
        return share_first(from, to, *place, offset, refusal);
    }

    // One holder more.
    Error share_again(Client<P>& from, Client<P>& to, const Place& place, Offset offset) {
        const u64 bytes = pool_.bytes_of(place);
        if (!to.reserve(1, bytes)) return Error::quota;
        if (const Error e = pool_.shares_.add(offset, from, to); !ok(e)) {
            to.unreserve(bytes);
            return e;
        }
        to.count_granted(1);
        return Error::none;
    }

    // From `from` to the commons, with a record for each of the two.
    Error share_first(Client<P>& from, Client<P>& to, const Place& place, Offset offset,
                      PoolRefusal& refusal) {
        if (&from == &to) return Error::held;
        const u64 bytes = pool_.bytes_of(place);
        if (!to.reserve(1, bytes)) return Error::quota;
        Error e = pool_.shares_.begin(offset, from, to);
        if (ok(e)) {
            Client<P>& commons = *pool_.shares_.commons();
            e = TransferCalls<P>(pool_).move(from, commons, place, refusal);
            bool last = false;
            if (!ok(e)) {
                pool_.shares_.drop(offset, from, last);
                pool_.shares_.drop(offset, to, last);
            }
        }
        if (!ok(e)) {
            to.unreserve(bytes);
            return e;
        }
        // Freed and granted again meanwhile by another thread of `from`, it may be of another
        // size; now that it is shared, no more.
        const u64 held = pool_.bytes_of(place);
        to.reserve_beyond(1, held);
        to.unreserve(bytes);
        to.count_granted(1);
        // It holds the object still: what the move took from its count, it gets back.
        from.reserve_beyond(1, held);
        from.count_granted(1);
        return Error::none;
    }

    Pool<P>& pool_;
};

}  // namespace quarry
