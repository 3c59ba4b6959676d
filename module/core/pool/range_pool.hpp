// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// RangePool: what makes a pool of kind *range*. Offsets of memory that Quarry never touches
// (VRAM, a BAR, a file, indices), by best fit (range/range_allocator.hpp), each range owned
// by a client, counted against its limit, and taken back by its reap like any other object.
//
// Owners lie in a table by the number of the range's node: the owner's index and two links
// that chain the client's ranges, newest first, so that a reap visits its own alone. All of
// it, the allocator's records included, is taken when the pool is made.
//
// One lock (QUARRY_LOCK_PAGES; a pool of this kind has no buddy at work), held for one
// range at a time, in a reap for eight, in an audit for 32: O(log(capacity / granule)) steps
// each, whatever is live.
//
// Costs: alloc, free, move, resize O(log) each; reap O(ranges of the client).
// Metadata: the allocator's, and 12 bytes for each of its nodes.
// Context: any for a single call; reap, verify task.
#pragma once

#include "../range/range_allocator.hpp"
#include "client.hpp"
#include "client_table.hpp"

namespace quarry {

inline constexpr u64 kMaxRanges = u64{1} << 20;

template <Platform P>
class RangePool {
public:
    explicit RangePool(ClientTable<P>& clients) : clients_(clients) {}
    ~RangePool() {
        if (owners_) P::meta_free(owners_, owners_bytes());
    }
    RangePool(const RangePool&) = delete;
    RangePool& operator=(const RangePool&) = delete;

    // What init takes. Errors: invalid, too_large (above 2^20 ranges too).
    static Result<u64> required_meta_bytes(const RangeShape& shape) {
        if (shape.max_live > kMaxRanges) return Error::too_large;
        const auto records = Ranges::required_meta_bytes(shape);
        if (!records) return records;
        return *records + owners_bytes(nodes_for(shape));
    }
    // Errors: those of required_meta_bytes; no_memory. Context: task.
    Error init(const RangeShape& shape) {
        if (const auto bytes = required_meta_bytes(shape); !bytes) return bytes.error();
        if (const Error e = ranges_.init(shape); !ok(e)) return e;
        owners_ = static_cast<Owner*>(P::meta_alloc(owners_bytes(), Context::may_sleep));
        return owners_ ? Error::none : Error::no_memory;
    }

    u64 capacity() const { return ranges_.capacity(); }
    u64 granule() const { return ranges_.granule(); }
    u64 meta_bytes() const { return ranges_.meta_bytes() + owners_bytes(); }
    u64 free_bytes() {
        Guard guard(lock_);
        return ranges_.total_available();
    }
    // What a range of `size` bytes takes; 0 when there is none.
    u64 unit(u64 size) const {
        return size == 0 || size > capacity() ? 0 : round_up(size, granule());
    }

    using Granted = PoolGranted;
    using Refusal = PoolRefusal;

    // Errors: invalid (size 0, align no power of two), too_large (above the capacity),
    // quota, out_of_nodes, pool_full.
    Granted alloc(Client<P>& client, u64 size, u64 align, u32 count, Offset* out) {
        Granted g;
        const u64 bytes = unit(size);
        if (size == 0 || count == 0 || !is_power_of_two(align)) return {0, Error::invalid, 0};
        if (bytes == 0) return {0, Error::too_large, 0};
        // More than fit into the whole capacity need not be tried, and might overflow.
        const u64 most = capacity() / bytes;
        if (most < count) g.why = Error::pool_full;
        const u32 wanted = most < count ? static_cast<u32>(most) : count;
        const u32 allowed = client.reserve(wanted, bytes);
        if (allowed < wanted) g.why = Error::quota;
        while (g.done < allowed) {
            Guard guard(lock_);
            const auto range = ranges_.allocate(size, align);
            if (!range) {
                g.why = range.error();
                break;
            }
            link(client, range->node);
            note_slots(1);
            out[g.done++] = range->offset;
        }
        client.unreserve((allowed - g.done) * bytes);
        client.count_granted(g.done);
        return g;
    }

    // Frees in order; stops at the first that is refused. Errors: misaligned (no multiple of
    // the granule), out_of_range, not_object, already_free, not_owner.
    Granted free(Client<P>& client, const Offset* offsets, u32 count, Refusal& refusal) {
        Granted g;
        u64 bytes = 0;
        for (; g.done < count; ++g.done) {
            Guard guard(lock_);
            const auto range = owned(client, offsets[g.done], refusal);
            if (!range) {
                g.why = range.error();
                break;
            }
            bytes += release(client, *range);
        }
        client.count_freed(g.done, bytes);
        return g;
    }

    // Moves in order; stops at the first that is refused. Errors: those of free, and quota.
    Granted transfer(Client<P>& from, Client<P>& to, const Offset* offsets, u32 count,
                     Refusal& refusal) {
        Granted g;
        for (; g.done < count; ++g.done) {
            Guard guard(lock_);
            const auto range = owned(from, offsets[g.done], refusal);
            const u64 bytes = range ? *ranges_.size_of(*range) : 0;
            if (!range || !to.reserve(1, bytes)) {
                g.why = range ? Error::quota : range.error();
                break;
            }
            unlink(from, range->node);
            link(to, range->node);
            note_slots(1);
            to.count_granted(1);
            from.count_freed(1, bytes);
        }
        return g;
    }

    // Has the client a range of so many bytes there?
    bool owns(Client<P>& client, Offset offset, u64 bytes) {
        Refusal refusal;
        Guard guard(lock_);
        const auto range = owned(client, offset, refusal);
        return range && *ranges_.size_of(*range) == bytes;
    }

    // Shorter or longer where it stands; answers its bytes from then on. Errors: those of
    // free; invalid (size 0), quota, cannot_grow; then nothing has changed.
    Result<u64> resize(Client<P>& client, Offset offset, u64 size, Refusal& refusal) {
        refusal = {offset, 0};
        if (size == 0) return Error::invalid;
        const u64 after = unit(size);
        if (after == 0) return Error::cannot_grow;
        Guard guard(lock_);
        const auto range = owned(client, offset, refusal);
        if (!range) return range.error();
        const u64 before = *ranges_.size_of(*range);
        if (after > before && !client.reserve(1, after - before)) return Error::quota;
        ++changes_;
        const auto size_now = ranges_.try_reallocate(*range, size);
        note_slots(1);
        if (!size_now) {
            if (after > before) client.unreserve(after - before);
            return size_now;
        }
        if (after < before) client.unreserve(before - after);
        return size_now;
    }

    struct Taken {
        u64 objects = 0;
        u64 bytes = 0;
    };
    // Takes back all that a dead client owns: no call of it runs or comes. Context: task.
    Taken reap(Client<P>& client) {
        Taken taken;
        while (reap_some(client, taken)) P::breathe();
        client.count_freed(taken.objects, taken.bytes);
        return taken;
    }

    // Walks the ranges by offset, four under one hold: no gap, no two free neighbours, each live
    // one owned by a client that lives and chained to it. What nobody changes meanwhile also
    // adds up, and has its table and indices compared with each other, a few ranges under one hold
    // again. Context: task.
    void verify(Audit& audit) {
        Walk walk;
        const u64 before = changes();
        while (walk.at < ranges_.capacity()) {
            {
                Guard guard(lock_);
                for (u32 i = 0; i < kAuditStep / 2 && walk.at < ranges_.capacity(); ++i)
                    step(audit, walk);
                note_slots(kAuditStep / 2);
            }
            P::breathe();
        }
        audit.saw_objects(walk.live);
        Audit records;  // counts the same ranges again
        RangeAudit deep(ranges_, records);
        for (bool more = true; more; P::breathe()) {
            Guard guard(lock_);
            if (changes_ != before) return;
            audit.expect(walk.live == ranges_.live() &&
                             walk.free_bytes == ranges_.total_available(),
                         "the sums of a range pool are wrong", 0);
            more = deep.step(kAuditStep);
            note_slots(deep.seen());
        }
        if (!records.clean()) audit.fault(records.result().first, records.result().first_offset);
    }

private:
    using Ranges = RangeAllocator<P>;
    static constexpr u32 kReapStep = 8;  // ranges under one hold

    struct Owner {
        u32 next;
        u32 prev;
        ClientIndex client;
    };
    struct Walk {
        Offset at = 0;
        u64 live = 0;
        u64 free_bytes = 0;
        bool last_free = false;
        u64 seen = 0;  // changes at the last step
    };

    static u64 nodes_for(const RangeShape& s) {
        return NodeTable<u64, NoSteps>::layout(s.capacity >> lowest_bit(s.granule), s.max_live)
            .numbers();
    }
    static u64 owners_bytes(u64 nodes) { return nodes * sizeof(Owner); }
    u64 owners_bytes() const { return owners_bytes(ranges_.nodes()); }

    u64 changes() {
        Guard guard(lock_);
        return changes_;
    }
    static void note_slots(u32 n) {
        if constexpr (requires { P::note_slots(n); }) P::note_slots(n);
    }

    // ---- under the lock ----

    // The live range at `offset`, when it is this client's.
    Result<RangeHandle> owned(Client<P>& client, Offset offset, Refusal& refusal) {
        refusal = {offset, 0};
        const auto range = ranges_.find(offset);
        if (!range) return range;
        const ClientIndex owner = owners_[range->node].client;
        if (owner == client.index()) return range;
        ReadGuard<P> reader;
        if (Client<P>* other = clients_.find(owner)) refusal.owner = other->id();
        return Error::not_owner;
    }

    void link(Client<P>& client, u32 node) {
        ++changes_;
        owners_[node] = {client.head, kNoLink, client.index()};
        if (client.head != kNoLink) owners_[client.head].prev = node;
        client.head = node;
    }
    void unlink(Client<P>& client, u32 node) {
        ++changes_;
        Owner& owner = owners_[node];
        if (owner.prev == kNoLink)
            client.head = owner.next;
        else
            owners_[owner.prev].next = owner.next;
        if (owner.next != kNoLink) owners_[owner.next].prev = owner.prev;
        owner = {};
    }
    u64 release(Client<P>& client, RangeHandle range) {
        unlink(client, range.node);
        note_slots(1);
        return *ranges_.free(range);
    }
    // False: nothing is left.
    bool reap_some(Client<P>& client, Taken& taken) {
        Guard guard(lock_);
        for (u32 i = 0; i < kReapStep; ++i) {
            if (client.head == kNoLink) return false;
            taken.bytes += release(client, *ranges_.named(client.head));
            ++taken.objects;
        }
        return true;
    }

    void step(Audit& audit, Walk& walk) {
        const auto range = ranges_.range_at(walk.at);
        if (!range) return end(audit, walk);
        // What was changed between two holds may have moved the borders.
        const bool follows = range->offset == walk.at;
        if (range->live) {
            ++walk.live;
            live(audit, range->offset);
        } else {
            walk.free_bytes += range->size;
            audit.expect(!follows || !walk.last_free || walk.seen != changes_,
                         "two free ranges are neighbours", range->offset);
        }
        walk.last_free = !range->live;
        walk.seen = changes_;
        walk.at = range->offset + range->size;
    }
    void live(Audit& audit, Offset offset) {
        const auto range = ranges_.find(offset);
        if (!range) return audit.fault("a live range is not found by its offset", offset);
        const Owner& owner = owners_[range->node];
        ReadGuard<P> reader;
        Client<P>* client = clients_.find(owner.client);
        if (!client) return audit.fault("a range's owner does not exist", offset);
        audit.expect((owner.prev == kNoLink ? client->head == range->node
                                            : owners_[owner.prev].next == range->node) &&
                         (owner.next == kNoLink || owners_[owner.next].prev == range->node),
                     "a client's chain of ranges is torn", offset);
    }
    // The capacity does not change: this cannot be.
    static void end(Audit& audit, Walk& walk) {
        audit.fault("no range holds an offset", walk.at);
        walk.at = ~Offset{0};
    }

    ClientTable<P>& clients_;
    typename P::Lock lock_{QUARRY_LOCK_PAGES};
    Ranges ranges_;
    Owner* owners_ = nullptr;
    u64 changes_ = 0;
};

}  // namespace quarry
