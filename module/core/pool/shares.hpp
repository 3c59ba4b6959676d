// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Shares: objects that several clients hold at once. Such an object belongs to the commons, a
// client of the pool's own, by the same records as any other's objects; and for each holder
// there is a record here. Who frees it drops its own record, and the last one's free frees
// the object. So nothing here is of interest to whoever asks for an owner, and a holder's
// death drops no more than its records.
//
// A bounded table in one block, made by the first share and charged to its caller: records
// in chains by offset, and in one chain a holder. The lock is held for one record.
//
// Cost: O(holders of the object). Context: any, as a reader; prepare: task.
#pragma once

#include "client.hpp"

namespace quarry {

template <Platform P>
class Shares {
public:
    // Records for a pool of so many pages: one a page, 256..65536.
    static u32 capacity_for(u64 pages) {
        u32 wanted = 256;
        while (wanted < 65536 && wanted < pages) wanted *= 2;
        return wanted;
    }

    Shares() = default;
    ~Shares() {
        if (Table* t = table_.load(std::memory_order_relaxed)) end(t);
    }
    Shares(const Shares&) = delete;
    Shares& operator=(const Shares&) = delete;

    // Makes table and commons, if they are not there. `pool` as for clients. Context: task.
    // Errors: no_memory.
    Error prepare(void* pool, u64 pages) {
        if (table_.load(std::memory_order_acquire)) return Error::none;
        const u32 capacity = capacity_for(pages);
        void* memory = P::meta_alloc(bytes_for(capacity), Context::may_sleep);
        if (!memory) return Error::no_memory;
        auto* made = new (memory) Table(pool, capacity);
        Table* none = nullptr;
        if (!table_.compare_exchange_strong(none, made, std::memory_order_acq_rel)) end(made);
        return Error::none;
    }

    // While an object changes from one holder to two.
    typename P::Lock making{QUARRY_LOCK_SHARES};

    // Null before the first share.
    Client<P>* commons() const {
        Table* t = table_.load(std::memory_order_acquire);
        return t ? &t->commons : nullptr;
    }
    u64 meta_bytes() const {
        Table* t = table_.load(std::memory_order_acquire);
        return t ? bytes_for(t->capacity) : 0;
    }
    // Records there are; a hint for anyone.
    u32 count() const { return count_.load(std::memory_order_relaxed); }

    // The first two holders of an object that is to be shared. Errors: owners_full.
    Error begin(Offset offset, Client<P>& a, Client<P>& b) {
        Table& t = table();
        Guard guard(lock_);
        if (!t.has_room(2)) return Error::owners_full;
        insert(t, offset, a);
        insert(t, offset, b);
        return Error::none;
    }
    // One more holder of what `from` holds. Errors: not_owner (it does not), held (`to`
    // holds it already), owners_full.
    Error add(Offset offset, const Client<P>& from, Client<P>& to) {
        Table& t = table();
        Guard guard(lock_);
        if (!find(t, offset, from.index())) return Error::not_owner;
        if (find(t, offset, to.index())) return Error::held;
        if (!t.has_room(1)) return Error::owners_full;
        insert(t, offset, to);
        return Error::none;
    }
    // What `from` holds is `to`'s share from here on. Errors: not_owner, held.
    Error move(Offset offset, Client<P>& from, Client<P>& to) {
        Table& t = table();
        Guard guard(lock_);
        const u32 at = find(t, offset, from.index());
        if (!at) return Error::not_owner;
        if (find(t, offset, to.index())) return Error::held;
        erase(t, at, from);
        insert(t, offset, to);
        return Error::none;
    }
    // False: the client holds no share of it. `last`: nobody does from here on.
    bool drop(Offset offset, Client<P>& holder, bool& last) {
        Table& t = table();
        Guard guard(lock_);
        const u32 at = find(t, offset, holder.index());
        if (at) erase(t, at, holder);
        last = at && !find(t, offset, kNobody);
        return at != 0;
    }
    // One that the client holds; false: there is none.
    bool peek(const Client<P>& holder, Offset& offset) {
        Table* t = table_.load(std::memory_order_acquire);
        if (!t) return false;
        Guard guard(lock_);
        if (!holder.shares) return false;
        offset = u64{t->record[holder.shares].key} * kGrain;
        return true;
    }

    // ---- for audits ----

    u32 capacity() const {
        Table* t = table_.load(std::memory_order_acquire);
        return t ? t->capacity : 0;
    }
    struct Share {
        Offset offset;
        ClientIndex holder;  // nobody: this is no record
        bool first;          // no other of its object is nearer to the head of its chain
        bool operator==(const Share& o) const { return offset == o.offset && holder == o.holder; }
    };
    Share at(u32 number) {
        Table& t = table();
        Guard guard(lock_);
        const Record& r = t.record[number];
        const Offset offset = u64{r.key} * kGrain;
        return {offset, r.holder, find(t, offset, kNobody) == number};
    }

private:
    // Records are numbered from 1; 0 ends a chain.
    struct Record {
        u32 key;              // offset in grains
        ClientIndex holder;   // nobody: free
        u32 next;             // of the same bucket, or free
        u32 of_holder_next;
        u32 of_holder_prev;
    };
    struct Table {
        Table(void* pool, u32 records)
            : commons(pool, kCommons, 0, 0), capacity(records), bucket(reinterpret_cast<u32*>(this + 1)),
              record(reinterpret_cast<Record*>(bucket + records)) {
            for (u32 i = records; i; --i) {
                record[i].next = free;
                free = i;
            }
        }
        bool has_room(u32 n) const { return used + n <= capacity; }

        Client<P> commons;
        u32 capacity;
        u32 used = 0;
        u32 free = 0;
        u32* bucket;
        Record* record;
    };

    static u64 bytes_for(u32 capacity) {
        return sizeof(Table) + u64{capacity} * sizeof(u32) + u64{capacity + 1} * sizeof(Record);
    }
    static void end(Table* t) {
        const u64 bytes = bytes_for(t->capacity);
        t->~Table();
        P::meta_free(t, bytes);
    }
    Table& table() const { return *table_.load(std::memory_order_acquire); }

    static u32& bucket_of(Table& t, u32 key) {
        return t.bucket[(key * 2654435769u >> 12) & (t.capacity - 1)];
    }
    // The record of an object and a holder, or of any holder; 0: there is none.
    static u32 find(Table& t, Offset offset, ClientIndex holder) {
        const u32 key = static_cast<u32>(offset / kGrain);
        u32 at = bucket_of(t, key);
        while (at && (t.record[at].key != key || (holder != kNobody && t.record[at].holder != holder)))
            at = t.record[at].next;
        return at;
    }
    void insert(Table& t, Offset offset, Client<P>& holder) {
        const u32 at = t.free;
        Record& r = t.record[at];
        t.free = r.next;
        ++t.used;
        r.key = static_cast<u32>(offset / kGrain);
        r.holder = holder.index();
        u32& first = bucket_of(t, r.key);
        r.next = first;
        first = at;
        r.of_holder_prev = 0;
        r.of_holder_next = holder.shares;
        if (holder.shares) t.record[holder.shares].of_holder_prev = at;
        holder.shares = at;
        count_.store(t.used, std::memory_order_relaxed);
    }
    void erase(Table& t, u32 at, Client<P>& holder) {
        Record& r = t.record[at];
        u32* link = &bucket_of(t, r.key);
        while (*link != at) link = &t.record[*link].next;
        *link = r.next;
        (r.of_holder_prev ? t.record[r.of_holder_prev].of_holder_next : holder.shares) = r.of_holder_next;
        if (r.of_holder_next) t.record[r.of_holder_next].of_holder_prev = r.of_holder_prev;
        r = {};
        r.next = t.free;
        t.free = at;
        --t.used;
        count_.store(t.used, std::memory_order_relaxed);
    }

    typename P::Lock lock_{QUARRY_LOCK_OVERFLOW};
    std::atomic<Table*> table_{nullptr};
    std::atomic<u32> count_{0};
};

}  // namespace quarry
